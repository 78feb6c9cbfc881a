import { equalConstantTime } from '../core/bytes.ts';
import { Problem } from '../core/problem.ts';
import { hasScope, type Principal, type Scope } from '../keys/index.ts';
import type { Ctx, Env, HttpDeps } from './env.ts';
import { resolveLimited } from './limits.ts';

/** The principal of the bearer key a request shows; undefined when it shows none. A bad key is a 401. */
export async function readPrincipal(deps: HttpDeps, c: Ctx): Promise<Principal | undefined> {
  const text = readKeyText(c);
  if (text === undefined) return undefined;
  return principalOf(deps, c.env, text);
}

/** Whose key it is. Nothing is waited for when a gateway that is asked again and again remembers it. */
export function principalOf(
  deps: HttpDeps,
  env: Env['Bindings'],
  keyText: string,
): Principal | Promise<Principal> {
  const found = resolveLimited(deps, env, keyText);
  return found instanceof Promise ? found.then(requireKnown) : requireKnown(found);
}

function requireKnown(principal: Principal | undefined): Principal {
  if (principal) return principal;
  throw new Problem('unauthorized', { detail: 'The key is unknown, revoked or expired.', isUncharged: true });
}

/** The principal, who must be there and be allowed. */
export async function requirePrincipal(deps: HttpDeps, c: Ctx, scope?: Scope): Promise<Principal> {
  const principal = await readPrincipal(deps, c);
  if (!principal) {
    throw new Problem('unauthorized', {
      detail: 'Send a key as "Authorization: Bearer mcp_...".',
      isUncharged: true,
    });
  }
  if (scope) requireScope(principal, scope);
  return principal;
}

export function requireScope(principal: Principal, scope: Scope): void {
  if (hasScope(principal, scope)) return;
  throw new Problem('forbidden', {
    detail: `The key does not have the scope "${scope}".`,
    isUncharged: true,
  });
}

/**
 * L402 occupies `Authorization`, so a key may also come as `X-Api-Key`. Whatever was meant to be a key is one
 * to judge: a client that is told 402 for a misspelled key would pay for what its key was to pay.
 */
function readKeyText(c: Ctx): string | undefined {
  const authorization = c.req.header('authorization') ?? '';
  const bearer = /^Bearer(?:\s+(.*))?$/i.exec(authorization);
  if (bearer) return bearer[1] ?? '';
  const isBareKey = /^mcp_/i.test(authorization);
  return isBareKey ? '' : c.req.header('x-api-key');
}

/** Lets the operator through, and nobody else. */
export function requireAdmin(deps: HttpDeps, c: Ctx): void {
  if (deps.adminKey === undefined) {
    throw new Problem('unavailable', { detail: 'The admin routes are off: ADMIN_KEY is not set.' });
  }
  if (equalConstantTime(c.req.header('x-admin-key') ?? '', deps.adminKey)) return;
  throw new Problem('unauthorized', { detail: 'The X-Admin-Key header is missing or wrong.' });
}
