/// `-Z` and the `-o ssl_...`, and lists of ciphers.
module LsmFs.Cli.Tests.TlsFlagTests

open System
open System.Net.Security
open Expecto
open LsmFs.Cli

let private parse (line: string) = CommandLine.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries))

let private serve (line: string) =
    match parse line with
    | Serve options -> options
    | other -> failtest $"'{line}' gave {other}"

let private tls (line: string) =
    match (serve $"-Z -o ssl_chain_cert=c,{line}").Tls with
    | ValueSome tls -> tls
    | ValueNone -> failtest "no TLS"

let private refuses (line: string) (start: string) =
    match parse line with
    | Refuse reason -> Expect.stringStarts reason $"lsmfs: {start}" line
    | other -> failtest $"'{line}' gave {other}"

let private warns (line: string) (words: string) =
    match List.ofSeq (serve line).Notices with
    | [ notice ] ->
        Expect.isTrue notice.IsWarning line
        Expect.stringContains notice.Text words line
    | other -> failtest $"'{line}' said {other}"

let private names (list: string) : string list =
    match CipherList.parse list with
    | Ok suites -> suites |> List.map string
    | Error reason -> failtest $"{list}: {reason}"

[<Tests>]
let tests =
    testList "TlsFlags" [
        test "the defaults" {
            let expected: TlsOptions = {
                ChainFile = "c"
                KeyFile = ValueNone
                KeyFormat = TlsKeyFormat.Pem
                VerifyMode = TlsVerifyMode.None
                AuthoritiesFile = ValueNone
                CipherText = ValueNone
                CipherSuites = []
                WriteBufferBytes = 16384
                HasSessionCache = false
                MinVersion = 2
            }

            Expect.equal (serve "-Z -o ssl_chain_cert=c").Tls (ValueSome expected) "with a certificate"
            Expect.equal (serve "--enable-ssl -o ssl_chain_cert=c").Tls (ValueSome expected) "by name"
            Expect.isEmpty (serve "-Z -o ssl_chain_cert=c").Notices "nothing is said"
            Expect.equal (serve "").Tls ValueNone "without -Z"
        }

        test "every option" {
            let tls =
                tls
                    "ssl_key=k,ssl_keyformat=2,ssl_verify_mode=2,ssl_ca_cert=a,ssl_ciphers=AES128-SHA,ssl_wbuf_size=8,ssl_session_cache,ssl_min_version=3"

            Expect.equal tls.KeyFile (ValueSome "k") "key"
            Expect.equal tls.KeyFormat TlsKeyFormat.Der "format"
            Expect.equal tls.VerifyMode TlsVerifyMode.Require "mode"
            Expect.equal tls.AuthoritiesFile (ValueSome "a") "authorities"
            Expect.equal tls.CipherText (ValueSome "AES128-SHA") "ciphers as given"
            Expect.equal (List.ofSeq tls.CipherSuites) [ TlsCipherSuite.TLS_RSA_WITH_AES_128_CBC_SHA ] "ciphers"
            Expect.equal tls.WriteBufferBytes 8192 "buffer"
            Expect.isTrue tls.HasSessionCache "cache"
            Expect.equal tls.MinVersion 3 "version"
            Expect.equal (serve "-Z -o ssl_chain_cert=c,ssl_keyformat=PEM").Notices.Count 0 "formats by name"
        }

        test "what is refused" {
            refuses "-Z" "-Z needs a certificate"
            refuses "-Z -o ssl_key=k" "-Z needs a certificate"
            refuses "-Z -o ssl_chain_cert" "-o ssl_chain_cert needs a value"
            refuses "-Z -o ssl_chain_cert=c,ssl_verify_mode=4" "-o ssl_verify_mode takes one of 0, 1, 2, 3, not '4'"
            refuses "-Z -o ssl_chain_cert=c,ssl_min_version=x" "-o ssl_min_version takes one of"
            refuses "-Z -o ssl_chain_cert=c,ssl_keyformat=ENGINE" "-o ssl_keyformat takes one of"
            refuses "-Z -o ssl_chain_cert=c,ssl_keyformat=2" "-o ssl_keyformat=2 is for a key in a file of its own"
            refuses "-Z -o ssl_chain_cert=c,ssl_wbuf_size=0" "-o ssl_wbuf_size takes"
            refuses "-Z -o ssl_chain_cert=c,ssl_ciphers=junk" "-o ssl_ciphers: 'junk' is no cipher"
            refuses "-l notls:127.0.0.1" "notls:, btls: and mtls: of -l are for a server with TLS"
        }

        test "what is warned of" {
            warns "-o ssl_chain_cert=c" "TLS is off without -Z"
            warns "-Z -o ssl_chain_cert=c,ssl_min_version=0" "is taken as 2"
            warns "-Z -o ssl_chain_cert=c,ssl_verify_mode=2" "without -o ssl_ca_cert"
            warns "-Z -o ssl_chain_cert=c -l mtls:127.0.0.1" "without -o ssl_ca_cert"
        }

        test "lists of ciphers" {
            let gcm = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
            Expect.equal (names "ECDHE-RSA-AES256-GCM-SHA384") [ gcm ] "a name"
            Expect.equal (names gcm) [ gcm ] "the standard's name"
            Expect.equal (names $"{gcm}:ECDHE-RSA-AES256-GCM-SHA384") [ gcm ] "each once"
            Expect.equal (names "ECDHE+AESGCM+aRSA+AES256") [ gcm ] "words joined"

            Expect.equal
                (names "HIGH:!ECDSA:!kRSA:!CHACHA20:!AES128:!SHA384:!SHA1:!aNULL:@STRENGTH")
                [ gcm ]
                "words taken away"

            Expect.equal (names "ECDHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES256-GCM-SHA384") [ gcm ] "one that there is not"
            Expect.equal (names "ALL:-ALL:ECDHE-RSA-AES256-GCM-SHA384") [ gcm ] "taken away for now"
            Expect.isError (CipherList.parse "ALL:!AES:!CHACHA20:AES128-SHA") "taken away for good"
            Expect.isError (CipherList.parse "ALL:!junk") "an unknown word"
            Expect.isError (CipherList.parse "TLS_AES_256_GCM_SHA384") "one of TLS 1.3"
            Expect.isError (CipherList.parse "") "nothing"
            Expect.isGreaterThan (names "ALL").Length 15 "all"
        }
    ]
