/** One server of a client's file as an entry of portcullis.yaml, with notes on all that the reader must see to. */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { looksSecret, variableName } from "./secrets.ts";

export type Imported = { readonly server: JsonObject | null; readonly notes: readonly string[] };
type Source = { readonly name: string; readonly asWritten: string; readonly entry: Json | undefined };
/** `note` collects; `server` is the prefix of variables. */
export type Making = { readonly server: string; readonly note: (text: string) => void };

export function convertServer({ name, asWritten, entry }: Source): Imported {
  const notes: string[] = [];
  const making: Making = { server: name, note: (text) => notes.push(`${name}: ${text}`) };
  if (name !== asWritten) making.note(`was called ${JSON.stringify(asWritten)}`);
  const instance = isObject(entry) ? instanceOf(entry, making) : null;
  if (instance === null) {
    making.note("left out: it has neither a command nor a url, or is disabled");
    return { server: null, notes };
  }
  return { server: { name, instances: [instance], permissions: [`${name}:call`] }, notes };
}

function instanceOf(entry: JsonObject, making: Making): JsonObject | null {
  if (entry["disabled"] === true) return null;
  const url = entry["url"] ?? entry["serverUrl"];
  if (typeof entry["command"] === "string") return { stdio: stdioOf(entry, entry["command"], making) };
  return typeof url === "string" ? { http: httpOf(entry, url, making) } : null;
}

function stdioOf(entry: JsonObject, command: string, making: Making): JsonObject {
  const args = Array.isArray(entry["args"]) ? entry["args"].map(String) : [];
  const env = values(entry["env"], (name, value) => [variableName(name), value], making);
  if (entry["envFile"] !== undefined) making.note("its envFile is not read: name the variables under env");
  return {
    command: reference(command, making),
    ...(args.length === 0 ? {} : { args: args.map((arg, at) => argument(arg, args[at - 1] ?? "", making)) }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(typeof entry["cwd"] === "string" ? { cwd: reference(entry["cwd"], making) } : {}),
  };
}

function httpOf(entry: JsonObject, url: string, making: Making): JsonObject {
  if (entry["type"] === "sse") making.note("was an SSE server: check that it also speaks Streamable HTTP at this url");
  if (entry["oauth"] !== undefined)
    making.note("its OAuth login is the client's: give the gateway a credential under headers");
  const headers = values(
    entry["headers"],
    (name, value) => {
      const scheme = /^(Bearer|Basic|Token) +/i.exec(value)?.[0] ?? "";
      return [
        variableName(making.server, name === "Authorization" ? "token" : name),
        value.slice(scheme.length),
        scheme,
      ];
    },
    making,
  );
  const isPrivate = /^https?:\/\/(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[::1\])/i.test(url);
  if (isPrivate) making.note("is dialled at a private address: allowPrivate is set");
  return {
    url: bareUrl(url, making),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(isPrivate ? { allowPrivate: true } : {}),
  };
}

type Naming = (name: string, value: string) => readonly [variable: string, secret: string, before?: string];

/** Environment or headers: what looks secret becomes a reference, the rest stays. */
function values(from: Json | undefined, naming: Naming, making: Making): JsonObject {
  if (!isObject(from)) return {};
  const pairs = Object.entries(from).map(([name, json]) => {
    const value = typeof json === "string" ? json : JSON.stringify(json);
    const [variable, secret, before = ""] = naming(name, value);
    if (value.includes("${") || !looksSecret(name, secret)) return [name, reference(value, making)] as const;
    return [name, `${before}${moved(variable, name, making)}`] as const;
  });
  return Object.fromEntries(pairs);
}

/** Without the secret that it looks like. */
export function argument(text: string, before: string, making: Making): string {
  if (text.includes("${")) return reference(text, making);
  const [, option = "", value = text] = /^(--?[\w-]+=)(.*)$/s.exec(text) ?? [];
  const name = (option === "" && before.startsWith("-") ? before : option).replaceAll(/^-+|=$/g, "");
  const isOption = option === "" && text.startsWith("-");
  if (!isOption && looksSecret(name, value))
    return `${option}${moved(variableName(making.server, name || "secret"), `the argument ${name || "without a name"}`, making)}`;
  if (/:\/\/[^/\s:@]*:[^/\s@]+@/.test(value))
    return `${option}${moved(variableName(making.server, option === "" ? "url" : name), "a URL with a password", making)}`;
  return reference(text, making);
}

/** The secret itself is nowhere in what is printed. */
function moved(variable: string, what: string, { note }: Making): string {
  note(`${what} looked like a secret: set ${variable} in the gateway's environment`);
  return `\${${variable}}`;
}

function bareUrl(text: string, making: Making): string {
  if (text.includes("${") || !URL.canParse(text)) return reference(text, making);
  const url = new URL(text);
  const secret = url.password !== "" || [...url.searchParams].some(([name, value]) => looksSecret(name, value));
  return secret ? moved(variableName(making.server, "url"), "its url", making) : reference(text, making);
}

/** A client's `${…}` as ours: `${env:X}`, `${input:x}`, `${workspaceFolder}` of VS Code; `${X}` and `${X:-y}` stay. */
function reference(text: string, { note }: Making): string {
  return text.replaceAll(/\$\{([^}]*)\}|\$/g, (whole, inside: string | undefined) => {
    if (inside === undefined) return "$$";
    const [, variable] = /^env:(\w+)$/.exec(inside) ?? [];
    const [, input] = /^input:(.+)$/.exec(inside) ?? [];
    if (variable !== undefined) return `\${${variable}}`;
    if (/^[A-Za-z_]\w*(:-.*)?$/s.test(inside) && !/^(workspaceFolder|userHome)/.test(inside)) return whole;
    if (input !== undefined) {
      note(`asked its user for ${JSON.stringify(input)}: set ${variableName(input)} in the gateway's environment`);
      return `\${${variableName(input)}}`;
    }
    if (inside === "userHome") return "${HOME}";
    note(`${whole} means nothing here: it is now .`);
    return ".";
  });
}
