export { createL402Wire, type L402WireDeps } from './l402-wire.ts';
