#!/bin/sh
# What is left out of OPA? Run in a folder with a fresh `vendor/`: removes what reaches the network, verifies
# certificates and tokens, parses GraphQL or speaks protobuf (40 MB become 19). A file that moved in a newer
# OPA stops the script. The list of changed files is also in NOTICE.
set -eu
here=$1
opa=vendor/github.com/open-policy-agent/opa

find $opa/capabilities -name 'v*.json' ! -name 'v1.22.2.json' -delete
rm $opa/v1/ir/proto.go
rm $opa/v1/util/close.go $opa/v1/util/read_gzip_body.go
# OPA's own functions by name, out of files that go for what else is in them
cut() {
	awk -v name="^func (\\([a-z]+ [*A-Za-z]+\\) )?($2)\\(" '$0 ~ name { on = 1 } on { print } on && /^}/ { on = 0; print "" }' \
		"$opa/v1/topdown/$1.go"
}
{
	cat "$here/kept.go.txt"
	cut crypto 'builtinCryptoMd5|builtinCryptoSha1|builtinCryptoSha256|hmacHelper|builtinCryptoHmac[A-Za-z0-9]+|toHexEncodedString'
	cut tokens 'decodeHeader|builtinJWTDecode|decodeJWT|validateJWTHeader|extractJSONObject'
} >$opa/v1/topdown/portcullis_kept.go
for file in http http_fixup http_fixup_darwin net graphql providers tokens crypto; do
	rm "$opa/v1/topdown/$file.go"
done
cp "$here/topdown.go.txt" $opa/v1/topdown/portcullis.go
patch --silent --strip=1 --directory=$opa <"$here/trim.patch"
