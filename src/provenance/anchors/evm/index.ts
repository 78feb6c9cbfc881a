export { createEvmAnchorChain, type EvmAnchorChainDeps } from './anchor-chain.ts';
