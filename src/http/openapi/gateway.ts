const text = { type: 'string' };

/** What a gateway says of itself, for machines and operators. */
export function gatewayPaths(): Record<string, unknown> {
  return {
    '/v1/health': { get: read('readHealth', 'The process is up', 'application/json') },
    '/ready': {
      get: {
        ...{ operationId: 'readReadiness', summary: 'What it can serve', security: [] },
        responses: {
          200: { description: 'It serves; `checks` has a line for each part.', content: checks },
          503: { description: 'It does not; `checks` says why.', content: checks },
        },
      },
    },
    '/metrics': {
      get: read('readMetrics', 'Metrics of process, logs and anchors (Prometheus)', 'text/plain'),
    },
    '/openapi.json': { get: read('readOpenApi', 'This document', 'application/json') },
    '/llms.txt': { get: read('readLlmsText', 'The same for who reads prose', 'text/plain') },
  };
}

const checks = {
  'application/json': {
    schema: {
      type: 'object',
      properties: { ok: { type: 'boolean' }, checks: { type: 'object', additionalProperties: text } },
      required: ['ok', 'checks'],
    },
  },
};

function read(operationId: string, summary: string, type: string): Record<string, unknown> {
  const responses = { 200: { description: summary, content: { [type]: {} } } };
  return { operationId, summary, security: [], responses };
}
