/** What a key may be used for. `all` covers every other one. */
export const SCOPES = ['example', 'read', 'invoke', 'publish', 'all'] as const;

export type Scope = (typeof SCOPES)[number];

export function isScope(value: unknown): value is Scope {
  return SCOPES.some((scope) => scope === value);
}

/** Whether the principal may do this; what was not given is denied. */
export function hasScope(principal: { scopes: readonly Scope[] }, scope: Scope): boolean {
  return principal.scopes.includes(scope) || principal.scopes.includes('all');
}
