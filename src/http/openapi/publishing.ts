import { LIMIT_CEILINGS, LIMIT_FLOORS } from '../../core/limits.ts';

const text = { type: 'string' };
const [KIB, MIB] = [1024, 1024 * 1024];
const between = (least: number, most: number, unit = 1) => ({
  ...{ type: 'integer', minimum: Math.ceil(least / unit), maximum: most / unit },
});

const limits = {
  type: 'object',
  description: 'Bounds of each call beside the defaults of the platform. A "pro" server has the first two.',
  properties: {
    timeout_ms: between(LIMIT_FLOORS.runTimeoutMs, LIMIT_CEILINGS.runTimeoutMs),
    output_kb: between(LIMIT_FLOORS.outputBytesMax, LIMIT_CEILINGS.outputBytesMax, KIB),
    memory_mb: between(LIMIT_FLOORS.memoryBytesMax, LIMIT_CEILINGS.memoryBytesMax, MIB),
    tmp_mb: between(LIMIT_FLOORS.tmpBytesMax, LIMIT_CEILINGS.tmpBytesMax, MIB),
    processes: between(LIMIT_FLOORS.pidsMax, LIMIT_CEILINGS.pidsMax),
  },
};
const network = {
  type: 'object',
  description: 'The exact hosts the code asks to reach, "name" or "name:port"; callers have to consent.',
  properties: { hosts: { type: 'array', items: text, minItems: 1, maxItems: 16 } },
};
const signature = {
  ...text,
  maxLength: 16 * 1024,
  description:
    'Detached, over the canonical archive, by a release key of yours: SSHSIG, OpenPGP or minisign, as text.',
};
const described = {
  ...{ name: text, version: text, description: text, category: { type: 'array', items: text } },
  ...{ license: text, repo_url: text, changelog: text, pricing: { type: 'object' }, signature },
};
const required = ['name', 'version', 'description', 'pricing'];
const deterministic = {
  type: 'boolean',
  description:
    'The same arguments always give the same result. Anyone may then download the code and its dependencies, for good, to see for themselves. Not with "network".',
};
const language = { enum: ['python', 'node', 'go'] };

const metadata = {
  type: 'object',
  properties: {
    ...described,
    ...{ tier: { enum: ['hobbyist'] }, language, limits, network, deterministic },
    entrypoint: {
      ...text,
      description: 'A .py file; a .js, .mjs or .cjs file; or a static linux/amd64 ELF.',
    },
  },
  required: [...required, 'language', 'entrypoint'],
};
const withFiles = {
  ...metadata,
  properties: {
    ...metadata.properties,
    files: {
      type: 'object',
      description: 'Paths to texts, or to {"base64": "..."}.',
      additionalProperties: {
        oneOf: [text, { type: 'object', properties: { base64: text }, required: ['base64'] }],
      },
    },
  },
  required: [...metadata.required, 'files'],
};
const endpoint = {
  type: 'object',
  properties: {
    ...described,
    ...{ tier: { enum: ['pro'] }, language, limits },
    endpoint_url: { ...text, format: 'uri', description: 'An MCP endpoint (streamable HTTP) of your own.' },
  },
  required: [...required, 'tier', 'endpoint_url'],
};
const form = {
  type: 'object',
  properties: {
    metadata: { ...text, contentMediaType: 'application/json', contentSchema: metadata },
    archive: { ...text, format: 'binary', description: 'A .tar, .tar.gz or .zip of the files.' },
  },
  required: ['metadata', 'archive'],
};

const hash = { type: ['string', 'null'] };
const published = {
  type: 'object',
  properties: {
    ...{ ok: { const: true }, id: text, version_id: text, name: text, version: text, code_hash: text },
    ...{ tools: { type: 'array', items: text }, log_index: { type: 'integer' }, limits, network },
    runtime: { type: 'object', properties: { language: hash, root_hash: hash } },
    ...{ layer_hash: hash, build_log: text },
  },
  required: ['ok', 'id', 'name', 'version', 'code_hash', 'tools', 'log_index'],
};

/** Publishing a server or a version of one; `others` are the answers that every operation may give. */
export function publishOperation(
  named: { operationId: string; summary: string },
  others: Record<string, object>,
): Record<string, unknown> {
  return {
    ...named,
    security: [{ key: [] }],
    requestBody: {
      required: true,
      content: {
        'application/json': { schema: { oneOf: [withFiles, endpoint] } },
        'multipart/form-data': { schema: form },
      },
    },
    responses: {
      ...(named.operationId === 'publishVersion'
        ? { 200: { description: 'This very version was published before; nothing was done.' } }
        : { 409: { description: 'The name is listed already: PUT a version of it.' } }),
      201: { description: 'Listed.', content: { 'application/json': { schema: published } } },
      403: {
        description: 'Not your name, or an endpoint not proved to be yours: `challenge` says what to serve.',
      },
      ...others,
    },
  };
}
