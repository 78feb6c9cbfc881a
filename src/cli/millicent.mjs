#!/usr/bin/env node
// The command is TypeScript, and whoever installs it should not have to say how that is run.
import { register } from 'tsx/esm/api';

register();
await import('./main.ts');
