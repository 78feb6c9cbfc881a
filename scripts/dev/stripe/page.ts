import type { Session } from './objects.ts';

/** The page a person pays on, with test cards in place of a card form. */
export function renderPage(session: Session, error?: string): string {
  const dollars = (session.amount_total / 100).toFixed(2);
  const button = (method: string, label: string) =>
    `<button name="payment_method" value="${method}">${label}</button>`;
  const form =
    session.status === 'open'
      ? `<form method="post">${button('pm_card_visa', `Pay $${dollars}`)} ${button('pm_card_chargeDeclined', 'Pay with a card that is declined')}</form>`
      : `<p>This session is ${session.status}.</p>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Checkout (development)</title>
<h1>Checkout</h1><p>A development server: no card is charged.</p>${error === undefined ? '' : `<p role="alert">${escapeHtml(error)}</p>`}${form}</html>`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
