export { type Anvil, type AnvilOptions, startAnvil } from '../../scripts/dev/anvil.ts';
