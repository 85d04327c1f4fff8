namespace LsmFs.Cli

open System
open Argu

/// What `-Z` and the `-o ssl_...` say.
[<RequireQualifiedAccess>]
module internal TlsFlags =

    let private names = [
        "ssl_chain_cert"
        "ssl_key"
        "ssl_keyformat"
        "ssl_verify_mode"
        "ssl_ciphers"
        "ssl_ca_cert"
        "ssl_wbuf_size"
        "ssl_session_cache"
        "ssl_min_version"
    ]

    let private parseOneOf (name: string) (values: (string * 'value) list) (text: string) : Result<'value, string> =
        match values |> List.tryFind (fun (value, _) -> value = text) with
        | Some(_, value) -> Ok value
        | None ->
            let accepted = values |> List.map fst |> String.concat ", "
            Error $"-o {name} takes one of {accepted}, not '{text}'"

    let private parseKeyFormat =
        parseOneOf "ssl_keyformat" [
            "1", TlsKeyFormat.Pem
            "PEM", TlsKeyFormat.Pem
            "2", TlsKeyFormat.Der
            "DER", TlsKeyFormat.Der
        ]

    let private parseVerifyMode =
        parseOneOf "ssl_verify_mode" [
            "0", TlsVerifyMode.None
            "1", TlsVerifyMode.Request
            "2", TlsVerifyMode.Require
            "3", TlsVerifyMode.Once
        ]

    let private parseMinVersion = parseOneOf "ssl_min_version" [ "0", 0; "1", 1; "2", 2; "3", 3 ]

    let private parseFile (name: string) (text: string) : Result<string voption, string> =
        Values.parseFile $"-o {name}" text |> Result.map ValueSome

    let private parseCiphers (text: string) =
        CipherList.parse text
        |> Result.map (fun suites -> ValueSome text, suites)
        |> Result.mapError (fun reason -> $"-o ssl_ciphers: {reason}")

    let private options (extended: ExtendedSettings) : Result<TlsOptions, string> =
        let valueOf name parse missing = ToolCommandLine.valueOf (extended.TryValue name) parse missing

        ToolCommandLine.refusing {
            let! chain = valueOf "ssl_chain_cert" (parseFile "ssl_chain_cert") ValueNone
            let! key = valueOf "ssl_key" (parseFile "ssl_key") ValueNone
            let! keyFormat = valueOf "ssl_keyformat" parseKeyFormat TlsKeyFormat.Pem
            let! verifyMode = valueOf "ssl_verify_mode" parseVerifyMode TlsVerifyMode.None
            let! cipherText, cipherSuites = valueOf "ssl_ciphers" parseCiphers (ValueNone, [])
            let! authorities = valueOf "ssl_ca_cert" (parseFile "ssl_ca_cert") ValueNone
            let! writeBuffer = valueOf "ssl_wbuf_size" Values.parseTlsWriteBuffer Values.tlsWriteBufferBytesDefault
            let! minVersion = valueOf "ssl_min_version" parseMinVersion 2

            let! chain =
                match chain with
                | ValueSome chain -> Ok chain
                | ValueNone -> Error "-Z needs a certificate: name its file with -o ssl_chain_cert=..."

            do!
                if keyFormat = TlsKeyFormat.Der && key.IsNone then
                    Error "-o ssl_keyformat=2 is for a key in a file of its own: name it with -o ssl_key=..."
                else
                    Ok()

            return {
                ChainFile = chain
                KeyFile = key
                KeyFormat = keyFormat
                VerifyMode = verifyMode
                AuthoritiesFile = authorities
                CipherText = cipherText
                CipherSuites = cipherSuites
                WriteBufferBytes = writeBuffer
                HasSessionCache = extended.IsOn("ssl_session_cache", false)
                MinVersion = minVersion
            }
        }

    let private noticesOf (tls: TlsOptions) (addresses: ListenAddress list) : Notice list = [
        let asksClients =
            tls.VerifyMode <> TlsVerifyMode.None
            || addresses |> List.exists (fun address -> address.Tls = ListenTls.Mutual)

        if tls.MinVersion < 2 then
            {
                IsWarning = true
                Text =
                    $"-o ssl_min_version={tls.MinVersion} is taken as 2: TLS 1.0 and 1.1 are broken, and clients that speak nothing newer cannot connect"
            }

        if asksClients && tls.AuthoritiesFile.IsNone then
            {
                IsWarning = true
                Text = "without -o ssl_ca_cert there is nobody whose clients would be let in by their certificates"
            }
    ]

    /// Reads `-Z` and the `-o ssl_...`, and what is to be said about them.
    let read
        (results: ParseResults<ServeArguments>)
        (extended: ExtendedSettings)
        (addresses: ListenAddress list)
        : Result<TlsOptions voption * Notice list, string> =
        if results.Contains Enable_Ssl then
            options extended |> Result.map (fun tls -> ValueSome tls, noticesOf tls addresses)
        elif addresses |> List.exists (fun address -> address.Tls <> ListenTls.Default) then
            Error "notls:, btls: and mtls: of -l are for a server with TLS, which -Z turns on"
        else
            let given =
                names
                |> List.filter (fun name -> (extended.TryValue name).IsSome)
                |> List.map (fun name -> $"-o {name}", Meaning.Missing "TLS is off without -Z")

            Ok(ValueNone, Notice.linesOf given)
