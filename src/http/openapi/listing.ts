const text = { type: 'string' };
const whole = { type: 'integer' };
const hash = { type: ['string', 'null'], description: '"sha256:" and hex.' };

const verified = {
  type: ['object', 'null'],
  description:
    'Set when a registered key of its publisher signed the code, and a signed checkpoint covers the leaf.',
  properties: {
    statement: { ...text, description: '`v1.2.3 verified on 2026-05-04, sha256:...`' },
    key: { type: 'object', properties: { format: text, id: text } },
    ...{ signature_hash: hash, log_index: whole },
  },
};

/** One listed server, as far as who holds it against the log has to know. */
export const listing = {
  type: 'object',
  properties: {
    ...{ ok: { const: true }, id: text, name: text, version: text, version_id: text, code_hash: hash },
    ...{
      tools_hash: hash,
      manifest_hash: hash,
      log_index: whole,
      deterministic: { type: 'boolean' },
      verified,
    },
    ...{ yanked: { type: 'boolean' }, yanked_at: text, pricing: { type: 'object' } },
    tools: { type: 'array', items: { type: 'object' } },
  },
  required: ['ok', 'id', 'name', 'version', 'code_hash', 'tools_hash', 'verified', 'yanked', 'tools'],
};

/** A receipt and what proves it. */
export const issuedReceipt = {
  type: 'object',
  properties: {
    ...{ ok: { const: true }, receipt: { type: 'object', description: 'What it says.' }, jws: text },
    batch: { type: 'object', description: 'The signed batch that it is in, and its path there.' },
    log: {
      type: 'object',
      description: 'Its place in the receipts log, once a checkpoint covers it.',
      properties: { origin: text, index: whole, entry: text, salt: text, proof: text },
    },
  },
  required: ['ok', 'receipt', 'jws'],
};
