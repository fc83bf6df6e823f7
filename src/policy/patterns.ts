/** Which shapes can an obligation redact by name? All run in linear time on any text. */
export const REDACTION_PATTERNS: { readonly [name: string]: RegExp } = {
  email: /[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}/gi,
  phone: /\+\d{1,3}[ .-]?(?:\d{2,4}[ .-]?){2,4}\d{2,4}/g,
  card: /\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}\b/g,
  ssn: /\b\d{3}-\d{2}-\d{4}\b/g,
  iban: /\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b/g,
  ipv4: /\b(?:\d{1,3}\.){3}\d{1,3}\b/g,
  jwt: /\beyJ[\w-]{5,2000}\.[\w-]{5,4000}\.[\w-]{0,2000}/g,
  secret:
    /\b(?:pc_[a-z0-9]{1,32}_[0-9a-f]{64}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|sk-[A-Za-z0-9_-]{20,200})\b/g,
};
