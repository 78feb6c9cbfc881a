import { problem } from './problem.ts';

const text = { type: 'string' };
const whole = { type: 'integer' };
const nullable = (type: string) => ({ type: [type, 'null'] });

const bundle = {
  type: 'object',
  description:
    'mcp-provenance-bundle/v1: the leaf, its manifest, proof and signed checkpoint, the state of the contract, and the growth since. `millicent verify` checks it without asking anybody.',
  properties: {
    ...{
      format: { const: 'mcp-provenance-bundle/v1' },
      log: { type: 'object' },
      entry: text,
      leafIndex: whole,
    },
    ...{ manifest: nullable('string'), anchor: nullable('object') },
  },
  required: ['format', 'log', 'entry', 'leafIndex', 'anchor'],
};

const anchor = {
  type: 'object',
  properties: {
    ...{ log: { enum: ['versions', 'receipts'] }, chain_id: whole, contract: text },
    state: { enum: ['planned', 'sent', 'mined', 'final', 'superseded'] },
    ...{ prev_size: whole, tree_size: whole, root: text, anchor_index: nullable('integer') },
    ...{ tx_hash: nullable('string'), block_number: nullable('integer'), block_hash: nullable('string') },
    ...{ time: nullable('string'), has_state_proof: { type: 'boolean' } },
  },
};
const anchors = {
  type: 'object',
  properties: {
    ok: { const: true },
    anchors: { type: 'array', items: anchor, description: 'Newest first.' },
    targets: {
      type: 'array',
      items: { type: 'object' },
      description: 'Each log on each chain: how much of it is anchored there, and whether the two agree.',
    },
  },
  required: ['ok', 'anchors', 'targets'],
};

/** What stock readers of logs (C2SP tlog-tiles), auditors and verifiers read. */
export function logPaths(): Record<string, unknown> {
  return {
    ...tilePaths('/log', 'Versions', 'the log of versions'),
    ...tilePaths('/log/receipts', 'Receipts', 'the log of commitments to receipts'),
    '/log/bundle/{leafIndex}': {
      parameters: [inPath('leafIndex', { ...whole, minimum: 0 })],
      get: read('readLeafBundle', 'The proof bundle of a leaf', answer(bundle)),
    },
    '/mcp/{id}/versions/{version}/bundle': {
      parameters: [inPath('id', text), inPath('version', text)],
      get: read('readVersionBundle', 'The proof bundle of a version', answer(bundle)),
    },
    '/anchors': {
      get: {
        ...read('listAnchors', 'Which roots of the logs are on which chains', answer(anchors)),
        parameters: [
          { name: 'log', in: 'query', schema: { enum: ['versions', 'receipts'] } },
          { name: 'limit', in: 'query', schema: { ...whole, minimum: 1, maximum: 100, default: 20 } },
        ],
      },
    },
  };
}

function tilePaths(prefix: string, name: string, what: string): Record<string, unknown> {
  return {
    [`${prefix}/checkpoint`]: {
      get: read(`read${name}Checkpoint`, `The newest signed checkpoint of ${what}`, { 'text/plain': {} }),
    },
    [`${prefix}/vkey`]: {
      get: read(`read${name}Vkey`, `The keys that sign ${what}, the current one first`, { 'text/plain': {} }),
    },
    [`${prefix}/tile/{path}`]: {
      parameters: [inPath('path', { ...text, description: 'C2SP tlog-tiles: 0/x001/067, entries/000.p/8.' })],
      get: read(`read${name}Tile`, `A tile of ${what}`, { 'application/octet-stream': {} }),
    },
  };
}

const inPath = (name: string, schema: object) => ({ name, in: 'path', required: true, schema });
const answer = (schema: object) => ({ 'application/json': { schema } });

function read(operationId: string, summary: string, content: object): Record<string, unknown> {
  const responses = { 200: { description: summary, content }, default: problem };
  return { operationId, summary, security: [], responses };
}
