/**
 * What looks like a secret? By the form that its issuer gave it, by the name beside it, or as a part of a URL; also where
 * it stands in base64, hex or percent-encoding. What surprises: it is a list of ours, since the well-kept detectors cost
 * ten times what a whole call may (docs/decisions/7-our-own-list-of-secrets.md); a test holds it against one of them.
 * Every pattern begins with fixed letters and has bounded repeats, so that no text makes the search quadratic.
 */

export const MASKED = "***";

/** Our own keys: in no mode does a record hold what opens the gateway. */
const OWN_KEY = /pc_[a-z0-9]{1,32}_[0-9a-f]{16,}/g;

/** As issuers write them, letter by letter. */
const ISSUED: readonly RegExp[] = [
  /pc_[a-z0-9]{1,32}_[0-9a-f]{16,}/,
  /(?<![\w-])eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?/, // a JWT
  /A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16}/, // AWS
  /gh[opsur]_\w{20,}|github_pat_\w{20,}/,
  /gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct)-[\w-]{16,}/, // GitLab
  /xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}|hooks\.slack\.com\/services\/[\w/]{20,}/,
  /\bsk-[\w-]{16,}/, // OpenAI, Anthropic and their like
  /\b[sr]k_(?:live|test)_\w{10,}|\bwhsec_[\w+/=]{16,}/, // Stripe
  /AIza[\w-]{30,}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}/, // Google
  /SG\.[\w-]{16,}\.[\w-]{16,}/, // SendGrid
  /\bnpm_[A-Za-z0-9]{30,}|pypi-AgE[\w-]{30,}|rubygems_[0-9a-f]{40,}/,
  /\bhf_[A-Za-z0-9]{30,}/, // Hugging Face
  /\bhv[sbr]\.[\w-]{20,}|\.atlasv1\.[\w-]{30,}/, // Vault, Terraform
  /\bdo[opr]_v1_[0-9a-f]{40,}|\bdapi[0-9a-f]{32}/, // DigitalOcean, Databricks
  /\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|\blin_api_\w{30,}|\bntn_\w{30,}/,
  /\bglsa_\w{30,}|\bglc_[\w+/=]{30,}|\bNRAK-[0-9A-Z]{20,}|\bPMAK-[0-9a-f-]{40,}|\bfigd_[\w-]{30,}/,
  /\bdp\.[a-z]{2,4}\.[\w.-]{30,}|\bsbp_[0-9a-f]{40}|\bATATT3[\w=-]{30,}|\bops_eyJ[\w-]{30,}/,
  /\bAGE-SECRET-KEY-1[0-9A-Z]{50,}|\bSK[0-9a-f]{32}\b|\bkey-[0-9a-f]{32}\b/,
  /\b\d{8,10}:AA[\w-]{32,}/, // Telegram
];
/** As people and protocols write them. */
const SAID: readonly RegExp[] = [
  /-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----[^]*/,
  /\b(?:bearer|basic)\s{1,8}[\w.~+/=-]{6,}/,
];

const either = (patterns: readonly RegExp[], flags: string): RegExp =>
  new RegExp(patterns.map(({ source }) => source).join("|"), flags);
const BY_FORM = either(ISSUED, "g");
const BY_WORD = either(SAID, "gi");
const NAMES =
  "pass(?:w|phrase|code)|pwd|secret|token|api[-_ ]?key|(?:access|account|private|shared|signing|encryption)[-_ ]?key|credential|authori[sz]ation|cookie|session[-_ ]?id";
/** `password: x`, `"client_secret": "x"`, also within JSON that is a string of JSON. */
const PAIRS = new RegExp(
  String.raw`((?:${NAMES})[\w-]{0,24}\\{0,4}["']?\s{0,4}[=:]\s{0,4}\\{0,4}["']?)([^\s"'&;,\\]{1,512})`,
  "gi",
);
/** Parameters of URLs that are whole credentials. */
const QUERY =
  /([?&](?:sig|signature|key|code|auth|x-amz-(?:signature|security-token|credential))=)([^\s"'&#]{1,2048})/gi;
const USERINFO = /(:\/\/[^\s/@:]{0,128}:)[^\s/@]{1,256}@/g;
const SECRET_KEY = new RegExp(NAMES, "i");

/** Long enough to hide one, and written in an alphabet that hides them. */
const ENCODED = /[A-Za-z0-9+/_-]{24,}={0,2}/g;
const PERCENT_ENCODED = /[\w.~%-]{16,}/g;
const RUNS_MAX = 32;

/** Does this name of a member say that its value is a secret? */
export function isSecretName(name: string): boolean {
  let known = names.get(name);
  if (known === undefined) {
    known = SECRET_KEY.test(name);
    if (names.size >= NAMES_MAX || name.length > 64) return known;
    names.set(name, known);
  }
  return known;
}
/** Names come again and again; a caller who thinks up new ones fills it once. */
const names = new Map<string, boolean>();
const NAMES_MAX = 4_096;

/** The text with `***` for all that looks like a secret. Most texts are looked at once, and cheaply. */
export function maskSecrets(text: string): string {
  return hasLongWord(text) ? maskPlain(maskEncoded(text)) : maskSaid(text);
}

export function maskOwnKeys(text: string): string {
  return text.replace(OWN_KEY, MASKED);
}

function maskPlain(text: string): string {
  return maskSaid(text.replace(BY_FORM, MASKED));
}

function maskSaid(text: string): string {
  // "Basic " and six characters
  let clean = text.length >= 12 && SCHEMES.some((part) => text.includes(part)) ? text.replace(BY_WORD, MASKED) : text;
  if (!clean.includes("=") && !clean.includes(":")) return clean;
  clean = clean.replace(PAIRS, `$1${MASKED}`);
  if (clean.includes("=")) clean = clean.replace(QUERY, `$1${MASKED}`);
  return clean.includes("://") ? clean.replace(USERINFO, `$1${MASKED}@`) : clean;
}
const SCHEMES = ["earer", "EARER", "asic", "ASIC", "PRIVATE KEY"];

/** No issued secret is shorter: a word of so many characters has one at a multiple of that. */
const WORD_MIN = 15;

function hasLongWord(text: string): boolean {
  for (let at = WORD_MIN - 1; at < text.length; at += WORD_MIN) {
    let from = at;
    while (from >= 0 && at - from < WORD_MIN && text.charCodeAt(from) > SPACE) from--;
    let to = at;
    while (to < text.length && to - from <= WORD_MIN && text.charCodeAt(to) > SPACE) to++;
    if (to - from > WORD_MIN) return true;
  }
  return false;
}
const SPACE = 0x20;

function maskEncoded(text: string): string {
  if (text.length < 16) return text;
  let runs = 0;
  const found = (run: string): string => (runs++ < RUNS_MAX && hides(run) ? MASKED : run);
  const decoded = text.includes("%")
    ? text.replace(PERCENT_ENCODED, (run) => (run.includes("%") ? found(run) : run))
    : text;
  return decoded.replace(ENCODED, found);
}

/** Whether one of its readings is text with a secret. What is no text in a reading says nothing there. */
function hides(run: string): boolean {
  if (run.includes("%")) return isSecret(percentDecoded(run));
  // what stands before it may be of the same alphabet, so it may begin anywhere
  const [hex] = /[0-9a-f]{24,}/i.exec(run) ?? [];
  const readings = [
    ...(hex === undefined ? [] : [0, 1].map((from) => Buffer.from(hex.slice(from), "hex"))),
    ...[0, 1, 2, 3].map((from) => Buffer.from(run.slice(from), "base64")),
  ];
  return readings.some((bytes) => isSecret(bytes.toString("latin1")));
}

function isSecret(text: string): boolean {
  return (text.match(/[\t\n\r -~]{8,}/g) ?? []).some((part) => maskPlain(part) !== part);
}

function percentDecoded(run: string): string {
  return run.replaceAll(/%([0-9a-f]{2})/gi, (_, byte: string) => String.fromCharCode(Number.parseInt(byte, 16)));
}

/** Every way in which a value that is known to be secret may stand in a text, the longest first. */
export function formsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret, "utf8");
  const escaped = JSON.stringify(secret).slice(1, -1);
  const percent = encodeURIComponent(secret.toWellFormed());
  const forms = [
    secret,
    escaped,
    JSON.stringify(escaped).slice(1, -1),
    bytes.toString("base64"),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    percent,
    percent.replaceAll(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase()),
  ];
  return [...new Set(forms)].toSorted((one, other) => other.length - one.length);
}
