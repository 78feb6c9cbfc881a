import { Hono } from 'hono';
import { z } from 'zod';
import { listReleaseKeys, registerReleaseKey, revokeReleaseKey } from '../../gateway/index.ts';
import type { ReleaseKey } from '../../provenance/index.ts';
import { requirePrincipal } from '../auth.ts';
import { readBody } from '../body.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';

/** A key of the largest size in armor, a proof, and what JSON adds for line feeds. */
const BODY_BYTES_MAX = 128 * 1024;
const KEY_CHARACTERS_MAX = 81_920;
const PROOF_CHARACTERS_MAX = 16_384;

const registrationSchema = z.strictObject({
  format: z.enum(['ssh', 'openpgp', 'minisign']),
  key: z.string().min(1).max(KEY_CHARACTERS_MAX),
  proof: z.string().min(1).max(PROOF_CHARACTERS_MAX),
  expires_at: z.iso
    .datetime({ offset: true, error: 'must be a time as in "2030-01-31T12:00:00Z"' })
    .transform((text) => new Date(text))
    .optional(),
});

/** The keys with which publishers sign their releases. */
export function releaseKeyRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.get('/v1/release-keys', async (c) => {
    const principal = await requirePrincipal(deps, c, 'publish');
    const { publisherId, keys, proof, releaseNamespace } = await listReleaseKeys(deps, principal);
    return c.json({
      ...{ ok: true, publisher_id: publisherId, keys: keys.map(toKeyFields) },
      ...{ proof_text: proof.text, proof_namespace: proof.namespace, release_namespace: releaseNamespace },
    });
  });
  app.post('/v1/release-keys', (c) => postKey(deps, c));
  // An SSH fingerprint may hold a slash: it comes percent-encoded, or as it is.
  app.post('/v1/release-keys/:id{.+}/revoke', async (c) => {
    const principal = await requirePrincipal(deps, c, 'publish');
    const key = await revokeReleaseKey(deps, principal, c.req.param('id'));
    const { keyId: id, revokedAt, revokedIndex } = key;
    const revoked = { revoked_at: revokedAt?.toISOString(), log_index: Number(revokedIndex) };
    return c.json({ ok: true, id, revoked: true, ...revoked });
  });
  return app;
}

async function postKey(deps: HttpDeps, c: Ctx): Promise<Response> {
  const principal = await requirePrincipal(deps, c, 'publish');
  const { expires_at: expiresAt, ...sent } = await readBody(c, registrationSchema, BODY_BYTES_MAX);
  const key = await registerReleaseKey(deps, principal, { ...sent, expiresAt });
  const { releaseNamespace } = deps.releaseKeys;
  return c.json({ ok: true, ...toKeyFields(key), release_namespace: releaseNamespace }, 201);
}

function toKeyFields(key: ReleaseKey): Record<string, unknown> {
  const { keyId, format, publicKey, expiresAt, addedIndex, addedAt, revokedIndex, revokedAt } = key;
  return {
    ...{ id: keyId, format, public: publicKey.toString('base64') },
    expires_at: expiresAt?.toISOString() ?? null,
    ...{ added_at: addedAt.toISOString(), log_index: Number(addedIndex) },
    ...(revokedAt ? { revoked_at: revokedAt.toISOString(), revoked_log_index: Number(revokedIndex) } : {}),
  };
}
