import { z } from 'zod';
import { judgeNodeTrial, runTrial, type StartTrial, trialCode } from '../../policy/trial.ts';
import { judgeMemory, judgePids } from '../../policy/trial-limits.ts';

export type TrialInput = { start: StartTrial; isGvisor: boolean };

/**
 * Whether pods are jails: who they run as, what the filter refuses, that a network policy is really kept, and that
 * limits end what exceeds them. Undefined when they are; else what went wrong, for the operator.
 */
export async function judgeJails({ start, isGvisor }: TrialInput): Promise<string | undefined> {
  const trials = [judgePlace(start, isGvisor), judgeMemory(start), ...(isGvisor ? [] : [judgePids(start)])];
  // Each to its end, so that no jail of a trial is left when another fails.
  const answers = await Promise.allSettled(trials);
  for (const answer of answers) if (answer.status === 'rejected') throw answer.reason;
  return answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : undefined)).find(Boolean);
}

/** Node is offered only when it works there. */
export function judgeNode(start: StartTrial): Promise<string | undefined> {
  return judgeNodeTrial(start);
}

const placeSchema = z.object({
  uid: z.literal(65534),
  root: z.literal('EROFS'),
  tmp: z.literal('allowed'),
  fork: z.literal('allowed'),
  token: z.literal('ENOENT'),
  filter: z.string(),
  banner: z.string(),
  users: z.string(),
  reached: z.array(z.string()),
});

/** gVisor's kernel says the same date of itself on every machine. */
const GVISOR_BANNER = 'Sun Jan 10 15:06:54 PST 2016';
/** How `uid_map` reads where there is no user namespace (user_namespaces(7)). */
const ALL_USERS = /^\s*0\s+0\s+4294967295\s*$/;

async function judgePlace(start: StartTrial, isGvisor: boolean): Promise<string | undefined> {
  const trial = await runTrial(start, PLACE_TRIAL, placeSchema);
  if (trial.kind === 'failed') return trial.why;
  const { banner, filter, reached, users } = trial.answer;
  if (reached.length > 0)
    return `a jail reached ${reached.join(', ')}: the cluster's network does not keep to network policies`;
  if (isGvisor)
    return banner.includes(GVISOR_BANNER) ? undefined : 'a jail that gVisor should run sees another kernel';
  if (ALL_USERS.test(users)) return "a jail's users are the node's own: hostUsers was not kept";
  // Netlink is what our own profile refuses and a runtime's own allows.
  return filter === 'EAFNOSUPPORT'
    ? undefined
    : `jails of a runtime class that is not gVisor's need the seccomp profile of KUBERNETES_SECCOMP (a netlink socket was answered with ${filter})`;
}

/**
 * The API server listens, and every pod is told where; it is reached from where no policy is kept. What drops packets
 * answers nothing, so each attempt has a second.
 */
const PLACE_TRIAL = trialCode(
  'python',
  'trial.py',
  `
import concurrent.futures, errno, json, os, socket

def attempt(action):
    try:
        action()
        return 'allowed'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

def reach(place):
    host, port = place
    return attempt(lambda: socket.create_connection((host, int(port)), 1).close())

def read(path):
    try:
        with open(path) as file:
            return file.read(4096)
    except OSError:
        return ''

places = [('169.254.169.254', 80), ('192.0.2.1', 9), ('1.1.1.1', 53)]
if 'KUBERNETES_SERVICE_HOST' in os.environ:
    places.append((os.environ['KUBERNETES_SERVICE_HOST'], os.environ.get('KUBERNETES_SERVICE_PORT', '443')))

answer = {
    'uid': os.getuid(),
    'filter': attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    'banner': read('/proc/version'),
    'users': read('/proc/self/uid_map'),
    'root': attempt(lambda: open('/trial', 'w')),
    'tmp': attempt(lambda: open('/tmp/trial', 'w').close()),
    'token': attempt(lambda: os.listdir('/var/run/secrets/kubernetes.io/serviceaccount')),
    'fork': attempt(fork),
}
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    results = list(pool.map(reach, places))
answer['reached'] = [place[0] for place, result in zip(places, results) if result == 'allowed']
print(json.dumps(answer))
`,
);
