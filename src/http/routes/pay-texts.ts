import { formatDollars, type Millicents } from '../../core/money.ts';
import type { PageSubject } from '../../gateway/index.ts';
import { html, type Markup } from './pay-page.ts';

/** What this gateway takes money by from a person. */
export type Ways = { card: boolean; lightning: boolean };

/** A Lightning invoice, and the token by which its payer later says what it was for. */
export type Invoice = { invoice: string; token: string };

/** What is bought, what it costs, who sells it, and how to pay. */
export function showOffer(
  subject: PageSubject,
  input: { ways: Ways; amounts: readonly Millicents[]; keyPrice: Millicents; address: string },
): Markup {
  const { server, tool, amount, accountId } = subject;
  const [publisher = ''] = server.split('/');
  const what =
    accountId === undefined
      ? html`<p>Your client called a paid tool without a key. Buy a prepaid key here, put it into your client, and call again.</p>`
      : html`<p>The key your client uses has too little balance for this call. Fill it here, and call again.</p>`;
  return html`${what}
<dl>
<dt>What is bought</dt><dd>One call of <code>${tool}</code> of <code>${server}</code></dd>
<dt>Price of the call</dt><dd>${formatDollars(amount)}, charged when the call delivers, and not when you pay here</dd>
<dt>Who sells it</dt><dd>${publisher}, through this Millicent gateway</dd>
<dt>What you pay here</dt><dd>${accountId === undefined ? 'Balance on a new key' : 'Balance on the key your client uses'}: what the call leaves over pays for later ones</dd>
</dl>
${input.ways.card ? [showCard(input)] : []}
${input.ways.lightning ? [showLightning(subject, input)] : []}
${input.ways.card || input.ways.lightning ? [] : [html`<p>This gateway takes no payments from people right now. Ask its operator for a key.</p>`]}
<p>Pay only if it was you, or your agent, who asked for this call. Nothing was charged so far.</p>`;
}

function showCard({ amounts, address }: { amounts: readonly Millicents[]; address: string }): Markup {
  return html`<h2>By card</h2>
<form method="post" action="${address}/card">
${showAmounts(amounts)}
<button type="submit">Pay by card</button>
</form>`;
}

function showLightning(
  { accountId }: PageSubject,
  input: { amounts: readonly Millicents[]; keyPrice: Millicents; address: string },
): Markup {
  const amounts =
    accountId === undefined
      ? html`<p>A new key costs ${formatDollars(input.keyPrice)}.</p>`
      : showAmounts(input.amounts);
  return html`<h2>By Lightning</h2>
<form method="post" action="${input.address}/lightning">
${amounts}
<button type="submit">Show an invoice</button>
</form>`;
}

function showAmounts(amounts: readonly Millicents[]): Markup {
  const options = amounts.map((amount, index) => {
    const checked = index === 0 ? [html` checked`] : [];
    return html`<label><input type="radio" name="amount_mcents" value="${amount.toString()}"${checked}> ${formatDollars(amount)}</label>
`;
  });
  return html`<fieldset>
<legend>How much</legend>
${options}</fieldset>`;
}

/** The way on to the provider's own page: a link, as forms lead nowhere but here. */
export function showCheckout(input: { checkoutUrl: string; amount: Millicents; address: string }): Markup {
  return html`<p>${formatDollars(input.amount)} will be paid on the page of our card processor.</p>
<p><a class="button" href="${input.checkoutUrl}" rel="noreferrer">Continue to the card form</a></p>
<p><a href="${input.address}">Back</a></p>`;
}

export function showInvoice(
  { accountId }: PageSubject,
  input: Invoice & { amount: Millicents; address: string },
): Markup {
  const after =
    accountId === undefined
      ? html`<h2>Then get your key</h2>
<p>Your wallet shows a <em>preimage</em> (also called proof of payment) of 64 characters. Paste it here.</p>
<form method="post" action="${input.address}/lightning/key">
<input type="hidden" name="token" value="${input.token}">
<label for="preimage">Preimage</label>
<input id="preimage" type="text" name="preimage" required pattern="[0-9a-fA-F]{64}" autocomplete="off" spellcheck="false">
<p><button type="submit">Show my key</button></p>
</form>`
      : html`<p>The key is filled as soon as the invoice is paid. Then go back to your client and call again.</p>`;
  return html`<p>Pay ${formatDollars(input.amount)} with a Lightning wallet.</p>
<p><a class="button" href="lightning:${input.invoice}">Open in a wallet</a></p>
<label for="invoice">Invoice</label>
<textarea id="invoice" rows="6" readonly>${input.invoice}</textarea>
${after}
<p><a href="${input.address}">Back</a></p>`;
}

/** A new key, and where an MCP client wants it. */
export function showKey(input: {
  keyText: string;
  balance: bigint;
  server: string;
  publicUrl: string;
}): Markup {
  const url = `${input.publicUrl}/mcp/${encodeURIComponent(input.server)}`;
  const headers = { Authorization: `Bearer ${input.keyText}` };
  const config = { mcpServers: { [input.server]: { type: 'http', url, headers } } };
  return html`<p>Its balance is ${formatDollars(input.balance)}. Keep it like cash: whoever has it can spend it.</p>
<pre><code>${input.keyText}</code></pre>
<h2>Put it into your client</h2>
<p>Most clients read a file with MCP servers. Add this header to the server there, then start the client again:</p>
<pre><code>${JSON.stringify(config, null, 2)}</code></pre>
<p>With Claude Code it is one command:</p>
<pre><code>claude mcp add --transport http ${input.server.replace(/[^a-z0-9]+/gi, '-')} ${url} --header "Authorization: Bearer ${input.keyText}"</code></pre>
<p>It pays for every tool of this gateway. More balance: <code>POST ${input.publicUrl}/v1/topup</code>.</p>`;
}
