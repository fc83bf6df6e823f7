/** Which commands are there? This table drives parsing and help; a command's code is loaded only when it runs. */
import type { Action } from "./io.ts";

export type Option = {
  /** Its value's name in the help; a switch has none. */
  readonly value?: string;
  readonly about: string;
};
export type Command = {
  readonly summary: string;
  /** Operands as the help shows them, e.g. `NAME`, `[PATH…]`. */
  readonly operands?: string;
  readonly options?: { readonly [name: string]: Option };
  /** A client of the running gateway: takes `--url` and `--key-file`. */
  readonly client?: true;
  readonly load: () => Promise<Action>;
};

export const COMMON_OPTIONS: { readonly [name: string]: Option } = {
  help: { about: "show this" },
  config: { value: "FILE", about: "the configuration file (default ./portcullis.yaml)" },
  json: { about: "print JSON" },
};
export const CLIENT_OPTIONS: { readonly [name: string]: Option } = {
  url: { value: "URL", about: "ask the admin listener at this URL, with PORTCULLIS_KEY, instead of data/admin.sock" },
  "key-file": { value: "FILE", about: "the file that holds the API key" },
};

const VERSION: Option = { value: "VERSION", about: "this version instead of the default one" };
const DRY_RUN: Option = { about: "say what would change, and do nothing" };
const AFTER: Option = { value: "CURSOR", about: "continue after this page" };
const SINCE: Option = { value: "TIME", about: "7d (the default), 12h, or RFC 3339" };
const ROUTING: { readonly [name: string]: Option } = {
  "dry-run": DRY_RUN,
  force: { about: "also where its tools break callers of the version before, or are suspicious" },
};
const CALLS: { readonly [name: string]: Option } = {
  principal: { value: "ID", about: "only calls of this principal" },
  for: { value: "ID", about: "only calls that an agent made for this user" },
  tenant: { value: "NAME", about: "only calls of this tenant" },
  tool: { value: "NAME", about: "only calls of this tool" },
  server: { value: "NAME", about: "only calls to this server" },
  version: { value: "VERSION", about: "only calls to this version of a server" },
  interface: { value: "DOOR", about: "only what came by mcp, rest, graphql, ext_authz or trpc" },
  operation: { value: "NAME", about: "only this operation, e.g. tools/call or keys/issue" },
  outcome: { value: "OUTCOME", about: "only success, error, refused or unknown" },
  decision: { value: "DECISION", about: "only allow or deny" },
  error: { value: "CODE", about: "only those that ended with this error, e.g. forbidden" },
  reason: { value: "TEXT", about: "only those that policy decided for this reason" },
  policy: { value: "REVISION", about: "only those that this revision of the policy decided" },
  trace: { value: "ID", about: "only this trace, 32 hex digits" },
  writer: { value: "NAME", about: "only what happened at this sidecar" },
  call: { value: "ID", about: "only this call" },
  first: { value: "N", about: "at most so many (default 50, at most 1000)" },
};
const SIGNED: { readonly [name: string]: Option } = {
  checkpoints: { value: "PLACE", about: "a file or folder of checkpoints that was kept elsewhere" },
  key: { value: "KEY", about: "ed25519:<id>:<public key>, or a file of such lines, instead of the keyring's" },
};
const FILTER: { readonly [name: string]: Option } = {
  server: { value: "NAME", about: "only tools of this server" },
  version: { value: "VERSION", about: "this version of each server; * for all" },
  permission: { value: "PERMISSION", about: "only tools that this permission opens" },
  tag: { value: "TAG", about: "only tools with this tag" },
};

export const COMMANDS: { readonly [name: string]: Command } = {
  serve: {
    summary: "run the gateway: control plane and policy engine in one process",
    load: async () => (await import("./serve.ts")).serve,
  },
  control: {
    summary: "run a control plane alone: discovery, administration, and the snapshots that sidecars follow",
    load: async () => (await import("./serve.ts")).control,
  },
  sidecar: {
    summary: "run a policy engine alone: all calling doors, from the snapshots of a control plane",
    options: {
      control: { value: "URL", about: "the admin listener of the control plane" },
      "key-file": { value: "FILE", about: "what `portcullis keys issue --sidecar NAME` printed" },
    },
    load: async () => (await import("./serve.ts")).sidecar,
  },
  "keys issue": {
    summary: "issue an API key and print it, once",
    options: {
      principal: { value: "ID", about: "the principal that the key stands for" },
      agent: { value: "NAME", about: "an agent's key instead" },
      for: { value: "ID", about: "the user that the agent acts for" },
      sidecar: {
        value: "NAME",
        about: "a sidecar's key instead, and what the sidecar is to pin: write both to its --key-file",
      },
    },
    client: true,
    load: async () => (await import("./keys.ts")).issueKey,
  },
  "keys list": {
    summary: "list API keys, never their text",
    client: true,
    load: async () => (await import("./keys.ts")).listKeys,
  },
  "keys revoke": {
    summary: "revoke a key",
    operands: "ID",
    client: true,
    load: async () => (await import("./keys.ts")).revokeKey,
  },
  "keys rotate": {
    summary: "revoke a key, and print a new one of the same principal",
    operands: "ID",
    client: true,
    load: async () => (await import("./keys.ts")).rotateKey,
  },
  "servers list": {
    summary: "list server versions and their state",
    client: true,
    load: async () => (await import("./servers.ts")).listServers,
  },
  "servers show": {
    summary: "show a server's versions and instances",
    operands: "NAME",
    client: true,
    load: async () => (await import("./servers.ts")).showServer,
  },
  "servers promote": {
    summary: "make a version the one that answers, and end the canaries",
    operands: "NAME VERSION",
    options: ROUTING,
    client: true,
    load: async () => (await import("./routes.ts")).promoteVersion,
  },
  "servers canary": {
    summary: "let a version answer so many of all principals, always the same ones",
    operands: "NAME VERSION",
    options: {
      percent: { value: "N", about: "0 to 100" },
      beside: { about: "and keep the canaries that there are; with 0 it ends" },
      ...ROUTING,
    },
    client: true,
    load: async () => (await import("./routes.ts")).startCanary,
  },
  "servers rollback": {
    summary: "back to the route before its last change",
    operands: "NAME",
    options: { "dry-run": DRY_RUN },
    client: true,
    load: async () => (await import("./routes.ts")).rollBackVersion,
  },
  "servers drain": {
    summary: "give an instance no new call, here and at other gateways; those under way end as they do",
    operands: "SERVER[@VERSION] INSTANCE",
    options: { "dry-run": DRY_RUN },
    client: true,
    load: async () => (await import("./drain.ts")).drain,
  },
  "servers undrain": {
    summary: "give it calls again",
    operands: "SERVER[@VERSION] INSTANCE",
    options: { "dry-run": DRY_RUN },
    client: true,
    load: async () => (await import("./drain.ts")).undrain,
  },
  "servers import": {
    summary: "turn a client's file (mcpServers, or VS Code's servers) into YAML for portcullis.yaml",
    operands: "FILE",
    load: async () => (await import("./import.ts")).importServers,
  },
  "servers export": {
    summary: "print the servers in force as a client's mcpServers, or as YAML for portcullis.yaml; without secrets",
    options: { format: { value: "FORMAT", about: "mcp (JSON, the default) or yaml" } },
    client: true,
    load: async () => (await import("./export.ts")).exportServers,
  },
  "tools list": {
    summary: "list tools: all of them, or with --key-file those that the key may see",
    options: FILTER,
    client: true,
    load: async () => (await import("./tools.ts")).listTools,
  },
  "tools describe": {
    summary: "show one tool's definition, permissions and limits",
    operands: "NAME",
    options: { version: VERSION },
    client: true,
    load: async () => (await import("./tools.ts")).describeTool,
  },
  "tools call": {
    summary: "call a tool with PORTCULLIS_KEY",
    operands: "NAME",
    options: {
      args: { value: "JSON", about: "the arguments, a JSON object (default {}); - reads stdin" },
      version: VERSION,
    },
    client: true,
    load: async () => (await import("./call.ts")).callTool,
  },
  "tools diff": {
    summary:
      "what changed between two versions (files@1.0.0 files@2.0.0), or what of a server awaits approval or is gone; exit 1 if it breaks or is suspicious",
    operands: "SERVER[@VERSION] [SERVER@VERSION]",
    client: true,
    load: async () => (await import("./tool-diff.ts")).diffVersions,
  },
  "tools lock": {
    summary: "write the definitions of all tools that may be seen to a file, or compare them with it",
    options: {
      server: { value: "NAME", about: "only tools of this server" },
      file: { value: "FILE", about: "default mcp.lock" },
      check: { about: "write nothing; exit 1 if a tool is not as it was" },
    },
    client: true,
    load: async () => (await import("./lock.ts")).lockTools,
  },
  "tools approve": {
    summary: "accept a tool's changed definition, here or at the sidecars that run its server; says what changed",
    operands: "NAME",
    options: { version: VERSION, digest: { value: "DIGEST", about: "only the definition with this digest" } },
    client: true,
    load: async () => (await import("./tools.ts")).approveTool,
  },
  "audit tail": {
    summary: "print the latest calls, oldest first",
    options: { ...CALLS, follow: { about: "go on printing new ones" } },
    client: true,
    load: async () => (await import("./audit.ts")).tailCalls,
  },
  "audit query": {
    summary: "search calls, newest first; or with --by or --bucket count them",
    options: {
      ...CALLS,
      since: { value: "TIME", about: "from this time on, RFC 3339" },
      until: { value: "TIME", about: "before this time" },
      after: { value: "CURSOR", about: "continue after this page" },
      oldest: { about: "oldest first" },
      by: { value: "FIELDS", about: "count by these, e.g. tool,principal; up to four" },
      bucket: { value: "DURATION", about: "count by spans of time such as 5m, 1h or 7d" },
    },
    client: true,
    load: async () => (await import("./audit.ts")).queryCalls,
  },
  "audit reindex": {
    summary: "build the index that calls are searched in anew, from the trail",
    client: true,
    load: async () => (await import("./audit.ts")).reindex,
  },
  "audit verify": {
    summary: "check the audit trail on disk: its lines, their chain, and what was signed of it",
    operands: "[FOLDER]",
    options: {
      ...SIGNED,
      writer: { value: "SIDECAR", about: "whose chains these are, where FOLDER is a copy of what was gathered" },
    },
    load: async () => (await import("./verify.ts")).verifyAudit,
  },
  "audit proof": {
    summary: "print a proof that a call is in the trail, which needs no Portcullis to check; or check one",
    operands: "[CALL] [FOLDER]",
    options: {
      ...SIGNED,
      intent: { about: "prove the record from before the call, not the one of how it ended" },
      check: { value: "FILE", about: "check this proof instead; - reads stdin" },
    },
    load: async () => (await import("./audit-proof.ts")).proveCall,
  },
  "audit export": {
    summary: "print the audit trail on disk, one line a record",
    operands: "[FOLDER]",
    options: {
      format: { value: "FORMAT", about: "otlp-json, spans as collectors take them (default), or jsonl, flat" },
      since: { value: "TIME", about: "from this time on, RFC 3339" },
      until: { value: "TIME", about: "before this time" },
    },
    load: async () => (await import("./audit-export.ts")).exportAudit,
  },
  "config check": {
    summary: "check the configuration file",
    load: async () => (await import("./config.ts")).checkConfig,
  },
  "config schema": {
    summary: "print the JSON Schema of the configuration file",
    load: async () => (await import("./config.ts")).printSchema,
  },
  "config show": {
    summary: "print the effective configuration, secrets masked",
    load: async () => (await import("./config.ts")).showConfig,
  },
  "policy check": {
    summary:
      "compile the policies and their tests, and say what is dangerous in them: of a folder, a bundle or its URL",
    operands: "[PATH]",
    options: {
      shadow: { about: "judge them as for a bundle in shadow: what could not be enforced is a warning" },
      strict: { about: "exit 1 on a warning too" },
    },
    load: async () => (await import("./policy.ts")).checkPolicy,
  },
  "policy test": {
    summary: "run the policies' tests: of a folder, a bundle or its URL",
    operands: "[PATH]",
    options: {
      filter: { value: "TEXT", about: "only tests in whose name, such as data.files_test.test_reads, this stands" },
      coverage: { about: "say how much of each file the tests reach, and which lines not" },
      threshold: { value: "PERCENT", about: "exit 1 if they reach less of any file" },
      trace: { about: "of a test that fails, the whole trace" },
    },
    load: async () => (await import("./policy-test.ts")).testPolicy,
  },
  "policy inspect": {
    summary:
      "list what the policies of a folder, a bundle or its URL define, which input they read, and what they say of themselves",
    operands: "[PATH]",
    load: async () => (await import("./policy-inspect.ts")).inspectPolicy,
  },
  "policy fmt": {
    summary: "format the policies",
    operands: "[PATH]",
    options: { check: { about: "change nothing; exit 1 if a file is not formatted" } },
    load: async () => (await import("./policy.ts")).formatPolicy,
  },
  "policy build": {
    summary: "make a bundle of the policies that OPA loads, one file; the same policies are the same bytes",
    operands: "[PATH]",
    options: {
      output: { value: "FILE", about: "default bundle.tar.gz" },
      sign: { value: "KEY", about: "sign it as `opa sign` does, with the private key in this PEM file (PKCS 8)" },
      "signing-alg": { value: "ALG", about: "RS256 (the default), PS256, ES256 and the like" },
      "key-id": { value: "ID", about: "the key's name, by which OPA finds it (default default)" },
      revision: { value: "TEXT", about: "what the manifest says (default the digest of its files)" },
    },
    load: async () => (await import("./policy-build.ts")).buildPolicy,
  },
  "policy apply": {
    summary: "put a folder or a bundle of policies in force, where the configuration says `policies: managed`",
    operands: "PATH",
    options: {
      "dry-run": { about: "compile it, run its tests, say what would change, and do nothing" },
      expect: { value: "REVISION", about: "only if this is still the last change" },
      coverage: { value: "PERCENT", about: "only if its tests reach so much of it" },
      shadow: {
        value: "NAME",
        about: "beside the enforced policy instead: it decides too, is counted, and moves nothing",
      },
    },
    client: true,
    load: async () => (await import("./managed.ts")).applyPolicy,
  },
  "policy why": {
    summary: "why policy decided so on a recorded call: the rules, what they read, and what would turn it",
    operands: "CALL",
    client: true,
    load: async () => (await import("./policy-why.ts")).explainCall,
  },
  "policy who": {
    summary: "who may call a tool, as far as arguments are in order",
    operands: "TOOL",
    options: { version: VERSION, after: AFTER },
    client: true,
    load: async () => (await import("./policy-why.ts")).whoMayCall,
  },
  "policy what": {
    summary: "what a principal may call, as far as arguments are in order",
    operands: "PRINCIPAL",
    options: { for: { value: "ID", about: "an agent, acting for this user" }, after: AFTER },
    client: true,
    load: async () => (await import("./policy-why.ts")).whatMayBeCalled,
  },
  "policy unused": {
    summary: "rules that never hold, for nobody and nothing that can be asked or was recorded; exit 1 if there are any",
    client: true,
    load: async () => (await import("./policy-why.ts")).unusedRules,
  },
  "policy diff": {
    summary: "what a folder or a bundle of policies would change: line by line, and of what was decided lately",
    operands: "PATH",
    options: { since: SINCE },
    client: true,
    load: async () => (await import("./policy-life.ts")).diffPolicy,
  },
  "policy impact": {
    summary: "which recorded decisions a folder or a bundle of policies would turn",
    operands: "PATH",
    options: { since: SINCE },
    client: true,
    load: async () => (await import("./policy-life.ts")).showImpact,
  },
  "policy rollback": {
    summary: "put the policy back in force that was there after a change, or that a record names",
    operands: "REVISION",
    options: { "dry-run": DRY_RUN },
    client: true,
    load: async () => (await import("./policy-life.ts")).rollBackPolicy,
  },
  "policy shadow": {
    summary: "what the policies in shadow would have decided otherwise, with the latest calls",
    client: true,
    load: async () => (await import("./policy-shadow.ts")).showShadows,
  },
  "policy promote": {
    summary: "put a policy that was applied in shadow in force, and end its shadow",
    operands: "NAME",
    options: { "dry-run": DRY_RUN },
    client: true,
    load: async () => (await import("./policy-shadow.ts")).promoteShadow,
  },
  "policy drop": {
    summary: "take a policy that was applied out of shadow",
    operands: "NAME",
    options: { "dry-run": DRY_RUN },
    client: true,
    load: async () => (await import("./policy-shadow.ts")).dropShadow,
  },
  "policy show": {
    summary: "print the policy that was applied",
    options: {
      revision: { value: "REVISION", about: "as it was after this change, or the policy that a record names" },
      shadow: { value: "NAME", about: "the one that was applied under this name" },
    },
    client: true,
    load: async () => (await import("./managed.ts")).showPolicy,
  },
  doctor: {
    summary: "check the parts of the running gateway, one line each",
    client: true,
    load: async () => (await import("./status.ts")).doctor,
  },
  status: {
    summary: "is it running, and with which servers?",
    client: true,
    load: async () => (await import("./status.ts")).status,
  },
};
