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
for file in http http_fixup http_fixup_darwin net graphql providers tokens crypto; do
	rm "$opa/v1/topdown/$file.go"
done
cp "$here/topdown.go.txt" $opa/v1/topdown/portcullis.go
patch --silent --strip=1 --directory=$opa <"$here/trim.patch"
