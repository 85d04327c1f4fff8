namespace LsmFs.Cli

open System
open System.Net.Security

/// OpenSSL's lists of TLS 1.2 ciphers, which memcached's `ssl_ciphers` takes: names and words such as `HIGH`, separated by colons, each of which adds to
/// the list, or with `-` or `!` before it takes away, for now or for good. Words joined by `+` mean what all of them mean.
[<RequireQualifiedAccess>]
module CipherList =

    /// OpenSSL's name, and the suite.
    let private known: (string * TlsCipherSuite) list = [
        "ECDHE-ECDSA-AES256-GCM-SHA384", TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        "ECDHE-RSA-AES256-GCM-SHA384", TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        "ECDHE-ECDSA-CHACHA20-POLY1305", TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        "ECDHE-RSA-CHACHA20-POLY1305", TlsCipherSuite.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        "ECDHE-ECDSA-AES128-GCM-SHA256", TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        "ECDHE-RSA-AES128-GCM-SHA256", TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        "ECDHE-ECDSA-AES256-SHA384", TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384
        "ECDHE-RSA-AES256-SHA384", TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384
        "ECDHE-ECDSA-AES128-SHA256", TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256
        "ECDHE-RSA-AES128-SHA256", TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256
        "ECDHE-ECDSA-AES256-SHA", TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA
        "ECDHE-RSA-AES256-SHA", TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA
        "ECDHE-ECDSA-AES128-SHA", TlsCipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
        "ECDHE-RSA-AES128-SHA", TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
        "AES256-GCM-SHA384", TlsCipherSuite.TLS_RSA_WITH_AES_256_GCM_SHA384
        "AES128-GCM-SHA256", TlsCipherSuite.TLS_RSA_WITH_AES_128_GCM_SHA256
        "AES256-SHA256", TlsCipherSuite.TLS_RSA_WITH_AES_256_CBC_SHA256
        "AES128-SHA256", TlsCipherSuite.TLS_RSA_WITH_AES_128_CBC_SHA256
        "AES256-SHA", TlsCipherSuite.TLS_RSA_WITH_AES_256_CBC_SHA
        "AES128-SHA", TlsCipherSuite.TLS_RSA_WITH_AES_128_CBC_SHA
    ]

    let private has (part: string) (name: string) = Array.contains part (name.Split '-')

    let private isEphemeral (name: string) = name.StartsWith "ECDHE-"

    let private isGcm (name: string) = has "GCM" name

    let private isAead (name: string) = isGcm name || has "CHACHA20" name

    /// Words, and which names they mean.
    let private words: (string list * (string -> bool)) list = [
        [ "ALL"; "DEFAULT"; "HIGH"; "FIPS"; "TLSv1.2" ], (fun _ -> true)
        [ "ECDHE"; "EECDH"; "kECDHE"; "kEECDH" ], has "ECDHE"
        [ "kRSA" ], isEphemeral >> not
        [ "ECDSA"; "aECDSA" ], has "ECDSA"
        [ "RSA"; "aRSA" ], has "ECDSA" >> not
        [ "AES" ], has "CHACHA20" >> not
        [ "AES128" ], has "AES128"
        [ "AES256" ], has "AES256"
        [ "AESGCM" ], isGcm
        [ "CHACHA20" ], has "CHACHA20"
        [ "SHA1"; "SHA" ], has "SHA"
        [ "SHA256" ], (fun name -> has "SHA256" name && not (isAead name))
        [ "SHA384" ], (fun name -> has "SHA384" name && not (isAead name))
        // What lists take away, as a rule, and is not there at all.
        [
            "DHE"
            "EDH"
            "kDHE"
            "kEDH"
            "aNULL"
            "eNULL"
            "NULL"
            "MD5"
            "RC4"
            "DES"
            "3DES"
            "EXP"
            "EXPORT"
            "LOW"
            "MEDIUM"
            "PSK"
            "kPSK"
            "SRP"
            "kSRP"
            "DSS"
            "aDSS"
            "ADH"
            "AECDH"
            "DH"
            "ECDH"
            "kECDH"
            "aECDH"
            "CAMELLIA"
            "ARIA"
            "SEED"
            "IDEA"
            "AESCCM"
            "AESCCM8"
            "SSLv3"
            "TLSv1"
            "TLSv1.0"
            "COMPLEMENTOFALL"
            "COMPLEMENTOFDEFAULT"
        ],
        (fun _ -> false)
    ]

    let private tryMeaning (word: string) : (string -> bool) option =
        match words |> List.tryFind (fun (names, _) -> List.contains word names) with
        | Some(_, meaning) -> Some meaning
        | None ->
            // OpenSSL's name, or that of the standard.
            known
            |> List.tryFind (fun (name, suite) -> name = word || string suite = word)
            |> Option.map (fun (named, _) -> fun name -> name = named)
            // Ciphers of OpenSSL that the base library does not let it speak.
            |> Option.orElse (
                if word.StartsWith "DHE-" then
                    Some(fun _ -> false)
                else
                    None
            )

    /// The ciphers that a word or several joined by `+` mean, or the word that is unknown.
    let private meant (joined: string) : Result<Set<string>, string> =
        let parts = joined.Split '+'

        match parts |> Array.tryFind (fun part -> (tryMeaning part).IsNone) with
        | Some unknown -> Error unknown
        | None ->
            let meanings = parts |> Array.choose tryMeaning

            known
            |> List.map fst
            |> List.filter (fun name -> meanings |> Array.forall (fun means -> means name))
            |> Set.ofList
            |> Ok

    /// The suites that a list stands for, those of TLS 1.3 not among them; or what is wrong with it.
    let parse (text: string) : Result<TlsCipherSuite list, string> =
        let apply state (word: string) =
            match state with
            | Error _ -> state
            | Ok(chosen, banned) ->
                let operation = if word = "" then ' ' else word[0]
                let name = word.TrimStart('!', '-', '+')

                match operation with
                // An order by strength; the client's order decides in any case.
                | _ when word = "@STRENGTH" -> state
                | _ ->
                    match meant name with
                    | Error unknown ->
                        Error $"'{unknown}' is no cipher of TLS 1.2 and no word for several that lsmfs knows"
                    | Ok meant when operation = '!' -> Ok(Set.difference chosen meant, Set.union banned meant)
                    | Ok meant when operation = '-' -> Ok(Set.difference chosen meant, banned)
                    | Ok _ when operation = '+' -> state
                    | Ok meant -> Ok(Set.union chosen (Set.difference meant banned), banned)

        let splits = text.Split([| ':'; ' ' |], StringSplitOptions.RemoveEmptyEntries)

        match Array.fold apply (Ok(Set.empty, Set.empty)) splits with
        | Error reason -> Error reason
        | Ok(chosen, _) when chosen.IsEmpty -> Error "it leaves no cipher of TLS 1.2"
        | Ok(chosen, _) ->
            Ok [
                for name, suite in known do
                    if chosen.Contains name then
                        suite
            ]
