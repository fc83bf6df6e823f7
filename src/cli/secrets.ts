/**
 * Which values of a client's file are secrets, and which variable takes their place? A name or a form that secrets
 * have is enough: a reference too many is a line to mend, a secret too many in a repository is an incident.
 */

const NAME = /key|token|secret|passw|auth|credential|private|cookie|session|dsn|\bpat\b|_pat$|connection_?string/i;
const FORM =
  /^(sk-|pk_|rk_|gh[opsu]_|github_pat_|glpat-|xox[abposr]-|AKIA|AIza|eyJ[\w-]+\.|pc_|npm_|hf_|ya29\.)|-----BEGIN|^[A-Fa-f0-9]{32,}$|^(?=.*\d)(?=.*[A-Za-z])[\w+/=-]{32,}$/;

export function looksSecret(name: string, value: string): boolean {
  if (value === "" || value.length < 4 || /^(true|false|none|null|\d{1,5})$/i.test(value)) return false;
  return NAME.test(name) || FORM.test(value);
}

/** `x-api-key` of server `git hub` → `GIT_HUB_X_API_KEY`. */
export function variableName(...parts: readonly string[]): string {
  const name = parts
    .join("_")
    .toUpperCase()
    .replaceAll(/[^A-Z0-9]+/g, "_")
    .replaceAll(/^_+|_+$/g, "");
  return /^[A-Z]/.test(name) ? name : `V_${name}`;
}
