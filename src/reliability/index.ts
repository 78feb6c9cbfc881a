export { createReliability, isFailingTooOften, type Reliability } from './reliability.ts';
