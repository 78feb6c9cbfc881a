import { problem } from './problem.ts';

const text = { type: 'string' };
const whole = { type: 'integer' };
const security = [{ key: [] }];

const sale = {
  type: 'object',
  properties: {
    receipt: {
      type: 'object',
      description: 'The payload of the receipt, whose canonical JSON is committed to.',
    },
    log: {
      type: ['object', 'null'],
      properties: { index: whole, salt: { ...text, description: 'Hex, 16 bytes.' } },
      required: ['index', 'salt'],
      description: 'Its place in the receipts log; null until it is logged.',
    },
  },
  required: ['receipt', 'log'],
};
const page = {
  type: 'object',
  properties: {
    ok: { const: true },
    tool: { type: 'object', properties: { id: text, name: text }, required: ['id', 'name'] },
    sales: { type: 'array', items: sale },
    next_cursor: { ...text, description: 'Send it as `after`; absent on the last page.' },
  },
  required: ['ok', 'tool', 'sales'],
};
const summary = {
  type: 'object',
  properties: {
    ...{ id: text, name: text },
    count: { ...whole, description: 'Calls of which the publisher got a share.' },
    ...{ gross_mcents: whole, fees_mcents: whole, net_mcents: whole },
    lanes: {
      type: 'array',
      items: { type: 'object', properties: { lane: text, last_seq: whole }, required: ['lane', 'last_seq'] },
      description: 'How far each lane was counted when the sums were made.',
    },
  },
  required: ['id', 'name', 'count', 'gross_mcents', 'fees_mcents', 'net_mcents', 'lanes'],
};
const summaries = {
  type: 'object',
  properties: { ok: { const: true }, tools: { type: 'array', items: summary } },
  required: ['ok', 'tools'],
};

const query = (name: string, schema: object, required = false) => ({ name, in: 'query', required, schema });
const answer = (description: string, schema: object) => ({
  description,
  content: { 'application/json': { schema } },
});

/** What publishers hold against the receipts log. */
export const salesPaths = {
  '/v1/sales': {
    get: {
      ...{ operationId: 'listSales', summary: 'The receipts of what a server of yours sold', security },
      parameters: [
        query('tool', { ...text, description: 'Name or id of the server.' }, true),
        query('after', text),
        query('limit', { ...whole, minimum: 1, maximum: 500, default: 100 }),
      ],
      responses: { 200: answer('A page of sales, by lane and number.', page), default: problem },
    },
  },
  '/v1/sales/summary': {
    get: {
      ...{ operationId: 'summarizeSales', summary: 'What the books say your servers earned', security },
      parameters: [query('tool', { ...text, description: 'Name or id of one server.' })],
      responses: { 200: answer('Sums by server, from the books.', summaries), default: problem },
    },
  },
};
