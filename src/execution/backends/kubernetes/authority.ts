import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent, type RequestOptions } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';

/** Where a cluster's API server is, and what shows it who we are. */
export type Authority = {
  readonly server: string;
  /** Asked for each request, because tokens and certificates are renewed. */
  authorize(): Promise<Authorized>;
  close(): void;
};

type Tls = Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'servername'>;
export type Authorized = Tls & { headers: Record<string, string>; agent: HttpAgent; auth?: string };

/** Reads the kubeconfig, or the service account of the pod we are in. Throws in words for the operator. */
export async function readAuthority(kubeconfigPath: string | undefined): Promise<Authority> {
  const config = await loadConfig(kubeconfigPath);
  const cluster = config.getCurrentCluster();
  const server = cluster?.server.replace(/\/+$/, '') ?? '';
  if (!server.startsWith('https://'))
    throw new Error('its server must be named by https:// in the kubeconfig.');
  if (cluster?.skipTLSVerify)
    throw new Error('its kubeconfig says insecure-skip-tls-verify: code would go to whoever answers.');
  const agents = new Map<string, HttpAgent>();
  return {
    server,
    async authorize() {
      const options: RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      const { auth, ca, cert, key } = options;
      const identity = JSON.stringify([ca, cert, key].map((pem) => pem?.toString()));
      const agent = agents.get(identity) ?? keepAlive(options.agent);
      agents.set(identity, agent);
      return { agent, headers: headersOf(options), ...(auth && { auth }), ...tlsOf(options) };
    },
    close() {
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

/** Loaded only where it is used: the client's models take a second and 70 MB. */
async function loadConfig(path: string | undefined): Promise<KubeConfig> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  try {
    if (path === undefined) config.loadFromCluster();
    else config.loadFromFile(path);
  } catch (cause) {
    throw new Error('its kubeconfig cannot be read: KUBERNETES_CONFIG must be the path of one.', { cause });
  }
  if (path === undefined && config.getCurrentCluster()?.server.includes('undefined'))
    throw new Error('the gateway runs in no pod: KUBERNETES_CONFIG must be the path of a kubeconfig.');
  return config;
}

/** The client's own agents open a connection for every request; those for a proxy are taken as they are. */
function keepAlive(agent: RequestOptions['agent']): HttpAgent {
  if (agent instanceof HttpsAgent && agent.constructor === HttpsAgent)
    return new HttpsAgent({ ...agent.options, keepAlive: true });
  return agent instanceof HttpAgent ? agent : new HttpsAgent({ keepAlive: true });
}

function tlsOf({ ca, cert, key, servername }: RequestOptions): Tls {
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }), ...(servername && { servername }) };
}

function headersOf({ headers }: RequestOptions): Record<string, string> {
  const entries = Array.isArray(headers) ? [] : Object.entries(headers ?? {});
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}
