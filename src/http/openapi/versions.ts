import { problem } from './problem.ts';

const text = { type: 'string' };
const parameters = ['id', 'version'].map((name) => ({ name, in: 'path', required: true, schema: text }));

/** What a version is held against, and how it is taken back. */
export function versionPaths(): Record<string, unknown> {
  return {
    '/mcp/{id}/versions': {
      parameters: parameters.slice(0, 1),
      get: download('listVersions', 'The versions of a server, newest first', 'application/json'),
    },
    '/mcp/{id}/versions/{version}/manifest': {
      parameters,
      get: download(
        'readManifest',
        "The bytes whose SHA-256 the version's log entry names",
        'application/json',
      ),
    },
    '/mcp/{id}/versions/{version}/signature': {
      parameters,
      get: download('readSignature', 'The detached signature over the code archive', 'text/plain'),
    },
    '/mcp/{id}/versions/{version}/code': {
      parameters,
      get: download(
        'readCode',
        'The canonical archive of deterministic code; 403 for other',
        'application/x-tar',
      ),
    },
    '/mcp/{id}/versions/{version}/layer': {
      parameters,
      get: download('readLayer', 'The archive of its dependencies', 'application/x-tar'),
    },
    '/mcp/{id}/versions/{version}/yank': {
      parameters,
      post: {
        ...{ operationId: 'yankVersion', summary: 'Take a version back, for good', security: [{ key: [] }] },
        requestBody: { required: false, content: {} },
        responses: {
          200: { description: 'It is yanked, now or since before.', content: { 'application/json': {} } },
          default: problem,
        },
      },
    },
  };
}

function download(operationId: string, summary: string, type: string): Record<string, unknown> {
  return {
    ...{ operationId, summary, security: [] },
    responses: { 200: { description: 'As it was published.', content: { [type]: {} } }, default: problem },
  };
}
