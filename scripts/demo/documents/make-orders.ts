/**
 * Writes `orders.csv` and `orders-broken.csv`: the orders of a shop that does not exist. The data is
 * synthetic and the same every time. Run it with `node --import tsx scripts/demo/documents/make-orders.ts`.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROWS = 400;
const SEED = 20260105;
const FIRST_DAY = Date.UTC(2026, 0, 5);
const DAY_MS = 86_400_000;

const COLUMNS = [
  'order_id',
  'ordered_on',
  'customer',
  'country',
  'postal_code',
  'product',
  'quantity',
  'unit_price_usd',
  'discount_pct',
  'shipped',
];
const CUSTOMERS = [
  ['Alder & Finch', 'GB', 'EC1A 1BB'],
  ['Baltic Paper', 'EE', '10111'],
  ['Casa Lima', 'PT', '1100-148'],
  ['Delta Print Works', 'US', '02139'],
  ['Eko Studio', 'SE', '111 29'],
  ['Fjord Books', 'NO', '0150'],
  ['Grünwald Schreibwaren', 'DE', '01067'],
  ['Hanami Crafts', 'JP', '150-0001'],
  ['Isla Bonita, S.L.', 'ES', '07001'],
  ['Jardin du Livre', 'FR', '06000'],
] as const;
const PRODUCTS = [
  ['notebook A5', 6.9],
  ['notebook A4', 9.5],
  ['fountain pen', 42],
  ['ink bottle 50 ml', 14.25],
  ['pencil set', 11.8],
  ['desk lamp', 58.4],
  ['paper ream', 7.6],
  ['letter opener', 19],
] as const;

/** The text of both files: the whole one, and one whose line 212 lost the quotes around a comma. */
export function makeOrders(): { whole: string; broken: string } {
  const random = createRandom(SEED);
  const rows = Array.from({ length: ROWS }, (_, index) => makeRow(index, random));
  // Two slips of a keyboard that a profile should bring to light.
  setCell(rows, 136, 'quantity', '1200');
  setCell(rows, 301, 'unit_price_usd', '4200.00');
  const lines = [COLUMNS, ...rows].map((row) => row.map(quote).join(','));
  const broken = lines.map((line, index) => (index === 211 ? unquote(rows[210] ?? []) : line));
  return { whole: `${lines.join('\n')}\n`, broken: `${broken.join('\n')}\n` };
}

function makeRow(index: number, random: () => number): string[] {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] ?? (items[0] as T);
  const [customer, country, postalCode] = index === 210 ? CUSTOMERS[8] : pick(CUSTOMERS);
  const [product, price] = pick(PRODUCTS);
  const day = new Date(FIRST_DAY + Math.floor(index / 4) * DAY_MS).toISOString().slice(0, 10);
  const discount = random() < 0.22 ? pick(['5', '7.5', '10', '12.5']) : '';
  return [
    `A${String(10_000 + index * 7)}`,
    day,
    customer,
    country,
    random() < 0.04 ? 'n/a' : postalCode,
    product,
    String(1 + Math.floor(random() ** 2 * 24)),
    (price * (1 + (random() - 0.5) * 0.1)).toFixed(2),
    discount,
    random() < 0.9 ? 'yes' : 'no',
  ];
}

function setCell(rows: string[][], row: number, column: string, value: string): void {
  rows[row]?.splice(COLUMNS.indexOf(column), 1, value);
}

function quote(value: string): string {
  return value.includes(',') ? `"${value}"` : value;
}

function unquote(row: string[]): string {
  return row.join(',');
}

/** mulberry32: small, and the same on every machine. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { whole, broken } = makeOrders();
  writeFileSync(new URL('orders.csv', import.meta.url), whole);
  writeFileSync(new URL('orders-broken.csv', import.meta.url), broken);
}
