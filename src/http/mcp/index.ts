export { mcpRoutes } from './routes.ts';
export { createMcpSessions, type McpSessions } from './sessions.ts';
