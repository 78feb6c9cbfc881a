export {
  type FreeCall,
  type FreeCallToTake,
  type FreeCounter,
  giveBackFreeCall,
  keepFreeCall,
  mayHaveFreeCall,
  takeFreeCall,
} from './allowance/allowance.ts';
export { DEFAULT_TIERS, setTier, type Tier, type Tiers, tierOf } from './allowance/tier.ts';
export { CHILD_DEPTH_MAX, type ChildToIssue, type IssuedChild } from './child.ts';
export { deriveKeyText, hashKey, newKeyText, parseKey } from './key-text.ts';
export { createKeys, type Keys, type KeyToIssue, type ListedKey } from './keys.ts';
export { type Principal, type Reach, reachOf } from './principal.ts';
export { hasScope, isScope, SCOPES, type Scope } from './scope.ts';
export { keyGuard, maySpend } from './store.ts';
export { isToolEntry, mayCall } from './tool-list.ts';
export { pruneWindows, takeFromWindow, type WindowTake } from './window.ts';
