export { deriveKeyText, hashKey, newKeyText, parseKey } from './key-text.ts';
export { createKeys, type Keys, type KeyToIssue, type ListedKey, type Principal } from './keys.ts';
export { hasScope, isScope, SCOPES, type Scope } from './scope.ts';
export { keyGuard } from './store.ts';
export { pruneWindows, takeFromWindow, type WindowTake } from './window.ts';
