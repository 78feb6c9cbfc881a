import { sha256 } from '../../core/bytes.ts';

/** HTML in which everything that came from outside was escaped. */
export type Markup = { readonly markup: string };

/** HTML from a template: what is put in is escaped, unless it is markup itself or a list of it. */
export function html(
  strings: TemplateStringsArray,
  ...values: (string | Markup | readonly Markup[])[]
): Markup {
  const [first = '', ...rest] = strings;
  return { markup: first + rest.map((text, index) => spell(values[index] ?? '') + text).join('') };
}

function spell(value: string | Markup | readonly Markup[]): string {
  if (typeof value === 'string') return value.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
  return 'markup' in value ? value.markup : value.map(({ markup }) => markup).join('');
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const STYLE = `
:root { color-scheme: light dark; font: 1.0625rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 40rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem; overflow-wrap: anywhere; }
code, textarea { font: .9rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: color-mix(in srgb, currentColor 8%, transparent); border-radius: .4rem; overflow-x: auto; padding: .75rem; white-space: pre-wrap; }
fieldset { border: 1px solid; border-radius: .4rem; margin: 0 0 1rem; }
label { display: block; padding: .3rem 0; }
input[type=text], textarea { box-sizing: border-box; font: inherit; padding: .5rem; width: 100%; }
button, .button { background: #1b4fd6; border: 2px solid #1b4fd6; border-radius: .4rem; color: #fff; cursor: pointer; display: inline-block; font: inherit; font-weight: 600; padding: .6rem 1.2rem; text-decoration: none; }
a:focus-visible, button:focus-visible, input:focus-visible, textarea:focus-visible { outline: 3px solid #f5a300; outline-offset: 2px; }
`;

/** Nothing runs, nothing is loaded, nobody frames it, and forms go nowhere but here. */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${sha256(STYLE).toString('base64')}'`,
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': POLICY,
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-robots-tag': 'noindex',
};

export type Page = {
  title: string;
  main: Markup;
  status?: number;
  /** For a page that waits: no script is needed to look again. */
  refreshSeconds?: number;
};

/** A whole page that works without scripts and for screen readers alike. */
export function answerPage({ title, main, status = 200, refreshSeconds }: Page): Response {
  const refresh =
    refreshSeconds === undefined
      ? []
      : [html`<meta http-equiv="refresh" content="${String(refreshSeconds)}">`];
  const style: Markup = { markup: `<style>${STYLE}</style>` };
  const { markup } = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${refresh}<title>${title} - Millicent</title>
${style}
</head>
<body>
<main>
<h1>${title}</h1>
${main}
</main>
</body>
</html>
`;
  return new Response(markup, { status, headers: HEADERS });
}
