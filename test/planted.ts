/** Forty secrets, each of its own kind and place, and a finder that knows every way in which one may be written. */

export type Planted = { readonly [where: string]: string };

/** Built of parts, so that no detector takes this file for a leak. The middle makes each the only one of its kind. */
const of = (...parts: readonly string[]) => parts.join("");
const letters = (seed: number, count: number) =>
  Array.from({ length: count }, (_, at) => "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0z"[(at * 7 + seed * 11 + at * at) % 31]).join(
    "",
  );
const hex = (seed: number, count: number) =>
  Array.from({ length: count }, (_, at) => "0123456789abcdef"[(at * 5 + seed * 3 + at * at * 7) % 16]).join("");
const jwt = (seed: number) => `eyJ${letters(seed, 20)}.eyJ${letters(seed + 1, 40)}.${letters(seed + 2, 43)}`;

/** In arguments, by the name beside it. */
export const NAMED: Planted = {
  password: "Tr0ub4dor&3-correct",
  apiKey: "zq81-kkw2-pp09-xx4m",
  client_secret: 's/p+e=c ial"quo\\ted\n',
  Authorization: "Digest username=Mufasa-5ccc069c",
  sessionId: "0d9f-8e7c-6b5a-4321",
  db_passphrase: "größer als ☂ zwölf",
  access_token: "90210-77123-55678",
};
/** In arguments, by its form. */
export const SHAPED: Planted = {
  aws: of("AK", "IA", "QW3RTY7UIOP5ASD9"),
  github: of("gh", "p_", letters(3, 36)),
  openai: of("sk", "-proj-", letters(4, 48)),
  jwt: jwt(5),
  slack: of("xo", "xb-", "210987654321-", letters(6, 24)),
  google: of("AI", "za", letters(7, 35)),
  pem: of("-----BEGIN ", "PRIVATE KEY-----\n", letters(8, 64), "\n-----END ", "PRIVATE KEY-----"),
  userinfo: "w1nterl1ch-7",
  signature: letters(9, 44),
  inBase64: of("gl", "pat-", letters(10, 20)),
  inHex: of("np", "m_", letters(11, 36)),
  inPercent: of("hv", "s.", letters(12, 28)),
};
/** In arguments, because the server's schema marks it, or policy does. */
export const MARKED: Planted = {
  writeOnly: "ein stilles Wort",
  formatPassword: "4711-0815-2342",
  sensitive: "123-45-6789-x",
  byPolicy: "drei mal schwarzer kater",
};
/** In headers. */
export const HEADERS: Planted = {
  wrongKey: of("pc_", "zz99_", hex(13, 64)),
  bearer: jwt(14),
  cookie: `sid=${letters(15, 32)}`,
  tracestate: `vendor=${letters(16, 32)}`,
  baggage: `user=${letters(17, 32)}`,
  requestId: of("sk", "_live_", letters(18, 24)),
};
/** In the configuration: towards a server, from the environment, towards a collector. */
export const CONFIGURED: Planted = {
  upstreamHeader: letters(19, 40),
  upstreamQuery: letters(20, 40),
  collectorHeader: letters(21, 40),
};
/** What a server says by itself. */
export const UPSTREAM: Planted = {
  errorMessage: of("gh", "s_", letters(22, 36)),
  toolError: of("sk", "-ant-api03-", letters(23, 60)),
  structured: "blue-velvet-9-tango",
  link: letters(24, 40),
  blob: letters(25, 48),
  statusBody: of("xo", "xp-", "555-", letters(26, 30)),
};
/** Where a name is expected. */
export const NAMES: Planted = {
  tool: of("SG", ".", letters(27, 22), ".", letters(28, 43)),
  version: of("sk", "-", letters(29, 40)),
};
export const ALL: Planted = Object.assign({}, NAMED, SHAPED, MARKED, HEADERS, CONFIGURED, UPSTREAM, NAMES);

/** Where they are found in a text: as they are, escaped once or twice, percent-encoded, or within anything that decodes. */
export function findPlanted(text: string, planted: Planted = ALL): readonly string[] {
  const readings = [text, ...decodings(text)].map((one) => one.toLowerCase());
  return Object.entries(planted)
    .filter(([, secret]) => spellings(secret).some((form) => readings.some((reading) => reading.includes(form))))
    .map(([where]) => where);
}

function spellings(secret: string): readonly string[] {
  const once = JSON.stringify(secret).slice(1, -1);
  const twice = JSON.stringify(once).slice(1, -1);
  const ascii = once.replaceAll(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const bytes = Buffer.from(secret, "utf8");
  const forms = [secret, once, twice, ascii, JSON.stringify(ascii).slice(1, -1), encodeURIComponent(secret)];
  const utf8 = forms.map((form) => Buffer.from(form, "utf8").toString("latin1"));
  // base64 within more of it begins at any of three places: what is the same in each is its middle
  const aligned = [0, 1, 2].map((before) =>
    Buffer.concat([Buffer.alloc(before), bytes])
      .toString("base64")
      .slice(before === 0 ? 0 : 4, -4),
  );
  const url = aligned.map((form) => form.replaceAll("+", "-").replaceAll("/", "_"));
  return [...forms, ...utf8, ...aligned, ...url, bytes.toString("hex")].map((form) => form.toLowerCase());
}

function decodings(text: string): readonly string[] {
  const runs = [...text.matchAll(/[A-Za-z0-9+/_-]{16,}={0,2}/g)].map(([run]) =>
    Buffer.from(run, "base64").toString("latin1"),
  );
  const digits = [...text.matchAll(/[0-9a-fA-F]{16,}/g)].map(([run]) => Buffer.from(run, "hex").toString("latin1"));
  const percent = text.replaceAll(/%([0-9a-fA-F]{2})/g, (_, byte: string) =>
    String.fromCharCode(Number.parseInt(byte, 16)),
  );
  return [percent, runs.join("\n"), digits.join("\n")];
}
