/**
 * npm's Solidity compiler, spoken to as forge speaks to the native one: `--version`, and `--standard-json` with the
 * input on stdin. Where sources may lie is of no matter: forge sends their text.
 */
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const require = createRequire(import.meta.url);
const args = process.argv.slice(2);

if (args.includes('--standard-json')) {
  process.stdout.write(require('solc').compile(await text(process.stdin)));
} else if (args.includes('--version')) {
  // The compiler itself takes a second to load, and forge asks often.
  const { version } = require('solc/package.json');
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else {
  process.stderr.write('only --version and --standard-json are understood here\n');
  process.exitCode = 1;
}
