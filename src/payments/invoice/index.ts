export {
  createInvoices,
  type Invoice,
  type InvoiceState,
  type Invoices,
  type NewInvoice,
} from './invoice.ts';
