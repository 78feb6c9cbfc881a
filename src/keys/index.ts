export { deriveKeyText, hashKey, newKeyText, parseKey } from './key-text.ts';
export { createKeys, type Keys, type KeyToIssue, type ListedKey } from './keys.ts';
export type { Principal } from './principal.ts';
export { hasScope, isScope, SCOPES, type Scope } from './scope.ts';
export { keyGuard, maySpend } from './store.ts';
export { pruneWindows, takeFromWindow, type WindowTake } from './window.ts';
