export type { Backend, BackendStatus, Capabilities, Code, Jail, JailSpec, Runtime } from './backend.ts';
export { createNoBackend } from './backends/none.ts';
export type { Validation } from './contracts.ts';
export { createExecution, type Execution, type ExecutionDeps, type RunInput } from './execution.ts';
export { DEFAULT_LIMITS, type Limits } from './limits.ts';
export type { CallToolResult, FailureReason, Inspection, Outcome, ToolDefinition } from './outcome.ts';
