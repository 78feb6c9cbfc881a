export type {
  Backend,
  BackendStatus,
  Capabilities,
  Code,
  Jail,
  JailSpec,
  Layer,
  Root,
  Runtime,
} from './backend.ts';
export { createNoBackend, createNoRemote } from './backends/none.ts';
export { type Build, type Builder, type BuilderDeps, createBuilder } from './build/builder.ts';
export type { LayerShelf, StoredLayer } from './build/layer-shelf.ts';
export { createToolchain, type Toolchain } from './build/toolchain.ts';
export type { Validation } from './contracts.ts';
export { createEgress, type EgressDeps, type EgressProxies } from './egress/egress.ts';
export type { Egress, EgressGate, EgressUse } from './egress-port.ts';
export type {
  Caller,
  ClientFace,
  Exchange,
  Exchanged,
  LogLevel,
  RemoteServers,
  ServerEvents,
  ServerFace,
  ServerRef,
} from './exchange.ts';
export { createExecution, type Execution, type ExecutionDeps, type RunInput } from './execution.ts';
export { DEFAULT_LIMITS, LIMIT_CEILINGS, LIMIT_FLOORS, type Limits } from './limits.ts';
export type { CallToolResult, FailureReason, Inspection, Outcome, ToolDefinition } from './outcome.ts';
export { isTurnedAway } from './queue.ts';
