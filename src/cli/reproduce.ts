import type { Manifest } from '../catalog/index.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { timeLimit } from '../core/time-limit.ts';
import { createReproducer } from '../deps/reproduce.ts';
import { type Code, DEFAULT_LIMITS, type Outcome } from '../execution/index.ts';
import { hashResult } from '../gateway/index.ts';
import type { ReceiptPayload } from '../provenance/index.ts';
import { type Command, type CommandInput, textOf, UsageError } from './command.ts';
import { toOneLine } from './printable.ts';
import { EvidenceFault, fetchCode, type Gateway, readReceipt, readVersion } from './reproduce/evidence.ts';
import { type CallAgain, isRequestOf, readInput } from './reproduce/request.ts';
import { readVkeys } from './verify/keys.ts';

const RESULT_CHARACTERS_MAX = 20_000;
const RUN_SLACK_MS = 30_000;

export const reproduceCommand: Command = {
  options: {
    input: { type: 'string', short: 'i' },
    vkey: { type: 'string', multiple: true },
    'work-dir': { type: 'string' },
  },
  optionTexts: [
    ['--input <file>', 'what was sent to /invoke: {"tool": "...", "arguments": {...}}'],
    ['--vkey <key>', "the version log's key from elsewhere; what the gateway tells is taken when left out"],
    [
      '--work-dir <folder>',
      "the sandbox's folder; .millicent/sandbox here when left out (root: /var/lib/millicent)",
    ],
  ],
  async run(input) {
    try {
      return await reproduce(input);
    } catch (cause) {
      if (!(cause instanceof EvidenceFault)) throw cause;
      input.complain(toOneLine(cause.message));
      return 1;
    }
  },
};

async function reproduce(input: CommandInput): Promise<number> {
  const [named, ...more] = input.positionals;
  const inputPath = textOf(input, 'input');
  if (named === undefined || more.length > 0 || inputPath === undefined) {
    throw new UsageError('Name one receipt, by its id or its file, and the --input that was paid for.');
  }
  const gateway: Gateway = { url: input.url, vkeys: readVkeys(input, 'vkey') ?? [], signal: input.signal };
  const call = await readInput(inputPath);
  const receipt = await readReceipt(gateway, named);
  const what = `${receipt.tool} of ${receipt.server} ${receipt.version}`;
  input.print(toOneLine(`Receipt    ${receipt.jti}: ${what}, signed by ${receipt.iss}`));
  if (call.tool !== receipt.tool || !isRequestOf(receipt, call)) {
    throw new UsageError(`${inputPath} is not the request that was paid for, which is ${receipt.req}.`);
  }
  input.print(`Request    ${receipt.req}: the input is what was paid for`);
  const { leaf, manifest, path } = await readVersion(gateway, receipt);
  input.print(`Log        entry ${receipt.log.index} of ${receipt.log.origin} names sha256:${leaf.sha256}`);
  if (!manifest.isDeterministic) {
    throw new UsageError(
      `${receipt.server} ${receipt.version} is not declared deterministic: its publisher does not promise that the same arguments give the same result, so nothing would follow from another one.`,
    );
  }
  const code = await fetchCode(gateway, path, manifest);
  input.print(`Code       ${code.archive.length} bytes, as logged${describeLayer(manifest)}`);
  const outcome = await runAgain(input, { code, manifest, call });
  return compare(input, receipt, outcome);
}

async function runAgain(
  input: CommandInput,
  { code, manifest, call }: { code: Code; manifest: Manifest; call: CallAgain },
): Promise<Outcome> {
  const reproducer = createReproducer({ workDir: textOf(input, 'work-dir') });
  try {
    const root = await reproducer.findRoot(code.runtime);
    const isSame = root === manifest.rootSha256;
    input.print(`Root       sha256:${root}${isSame ? ', the same as when it was published' : ''}`);
    if (!isSame) {
      input.complain(
        `The version was published on another root, sha256:${manifest.rootSha256}: should the result differ, that may be why.`,
      );
    }
    const limits = { ...DEFAULT_LIMITS, ...manifest.limits };
    const { tool, arguments: given } = call;
    const bound = timeLimit(input.signal, limits.runTimeoutMs + RUN_SLACK_MS);
    return await reproducer.run({ code, limits, tool, arguments: given }, bound);
  } finally {
    await reproducer.close();
  }
}

function compare(input: CommandInput, { res }: ReceiptPayload, outcome: Outcome): number {
  if (outcome.kind === 'failed') {
    if (isOfThisMachine(outcome)) {
      throw new Error(
        toOneLine(`nothing follows from this run, which may be this machine's: ${outcome.detail}`),
      );
    }
    input.print(`Result     the receipt says ${res}`);
    input.print(toOneLine(`           here it delivered none: ${outcome.detail}`));
    input.print('DIFFERENT');
    return 1;
  }
  const found = `sha256:${hashResult(outcome.result).toString('hex')}`;
  if (found === res) {
    input.print(`Result     ${found}\nTHE SAME`);
    return 0;
  }
  input.print(`Result     the receipt says ${res}`);
  input.print(`           here it is       ${found}`);
  input.print(`           ${canonicalJson(outcome.result).slice(0, RESULT_CHARACTERS_MAX)}`);
  input.print('DIFFERENT');
  return 1;
}

/** A slower or smaller machine ends calls that were delivered elsewhere, and so does whoever stops the command. */
function isOfThisMachine({ reason }: Extract<Outcome, { kind: 'failed' }>): boolean {
  return reason === 'timeout' || reason === 'out-of-memory' || reason === 'cancelled';
}

function describeLayer({ layerSha256 }: Manifest): string {
  return layerSha256 === null ? '' : `; dependencies sha256:${layerSha256}`;
}
