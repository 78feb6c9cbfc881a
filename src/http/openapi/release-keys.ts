import { problem } from './problem.ts';

const text = { type: 'string' };
const whole = { type: 'integer' };
const format = { enum: ['ssh', 'openpgp', 'minisign'] };
const security = [{ key: [] }];

const key = {
  type: 'object',
  properties: {
    id: { ...text, description: 'SSH: SHA256:<base64>; OpenPGP: the fingerprint; minisign: the key id.' },
    ...{ format, public: { ...text, contentEncoding: 'base64' } },
    expires_at: { type: ['string', 'null'] },
    ...{ added_at: text, log_index: whole, revoked_at: text, revoked_log_index: whole },
  },
  required: ['id', 'format', 'public', 'expires_at', 'added_at', 'log_index'],
};
const list = {
  type: 'object',
  properties: {
    ...{ ok: { const: true }, publisher_id: text, keys: { type: 'array', items: key } },
    proof_text: { ...text, description: 'Sign exactly these bytes with a key to register it.' },
    proof_namespace: { ...text, description: 'For SSH: ssh-keygen -Y sign -n.' },
    release_namespace: { ...text, description: 'The same for the archive of a release.' },
  },
  required: ['ok', 'publisher_id', 'keys', 'proof_text', 'proof_namespace', 'release_namespace'],
};
const registration = {
  type: 'object',
  properties: {
    format,
    key: { ...text, description: 'The public key as ssh-keygen, gpg --armor --export or minisign write it.' },
    proof: { ...text, description: 'A detached signature over `proof_text`.' },
    expires_at: { ...text, format: 'date-time' },
  },
  required: ['format', 'key', 'proof'],
};
const revoked = {
  type: 'object',
  properties: { ok: { const: true }, id: text, revoked: { const: true }, revoked_at: text, log_index: whole },
  required: ['ok', 'id', 'revoked', 'revoked_at', 'log_index'],
};

const answer = (description: string, schema: object) => ({
  description,
  content: { 'application/json': { schema } },
});

/** The keys with which publishers sign their releases. */
export const releaseKeyPaths = {
  '/v1/release-keys': {
    get: {
      ...{ operationId: 'listReleaseKeys', summary: "A publisher's keys for releases", security },
      responses: {
        200: answer('The keys, and what to sign to register another one.', list),
        default: problem,
      },
    },
    post: {
      ...{ operationId: 'registerReleaseKey', summary: 'Register a key for releases', security },
      requestBody: { required: true, content: { 'application/json': { schema: registration } } },
      responses: {
        201: answer('The key is in the log, now or from before.', key),
        409: { description: 'It was revoked, it is there with another end, or there are too many.' },
        default: problem,
      },
    },
  },
  '/v1/release-keys/{id}/revoke': {
    parameters: [
      {
        ...{ name: 'id', in: 'path', required: true, schema: text },
        description: 'Percent-encoded: an SSH fingerprint may hold a slash.',
      },
    ],
    post: {
      ...{ operationId: 'revokeReleaseKey', summary: 'End a key for releases, for good', security },
      requestBody: { required: false, content: {} },
      responses: {
        200: answer('From this log entry on nothing is verified by it.', revoked),
        default: problem,
      },
    },
  },
} as const;
