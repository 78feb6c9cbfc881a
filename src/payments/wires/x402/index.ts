export { createX402Wire } from './x402-wire.ts';
