namespace LsmFs.Cli

/// What stands behind the name of an option.
[<RequireQualifiedAccess>]
type OptionValue =
    /// Nothing; a value is ignored, as memcached does.
    | Absent
    /// A value, which must pass.
    | Needed of Check: (string -> Result<unit, string>)
    /// A value, which must pass, or none.
    | Optional of Check: (string -> Result<unit, string>)

/// An option of `-o`.
type ExtendedOption = {
    /// The name; the negated form, `no_name`, is an option of its own.
    Name: string
    /// What stands behind it.
    Value: OptionValue
    /// What it is to lsmfs.
    Meaning: Meaning
    /// What help says of it; empty when it has no effect.
    Usage: string
}

/// What the `-o` of a command line say: names with their values, the last first.
[<Sealed>]
type ExtendedSettings internal (settings: (string * string) list, notices: (string * Meaning) list) =

    /// The value of an option, if it was given; given again, the last one counts.
    member _.TryValue(name: string) : string option =
        settings |> List.tryFind (fun (given, _) -> given = name) |> Option.map snd

    /// Whether the last of `name` and `no_name` is `name`; neither: what holds without them.
    member _.IsOn(name: string, missing: bool) : bool =
        settings
        |> List.tryFind (fun (given, _) -> given = name || given = $"no_{name}")
        |> Option.map (fun (given, _) -> given = name)
        |> Option.defaultValue missing

    /// Every option that was given, as a user would name it, and what it is to lsmfs.
    member _.Given: (string * Meaning) list = notices

/// The options of `-o`: `-o name,no_name,name=value`, in any number of `-o`.
[<RequireQualifiedAccess>]
module ExtendedOptions =

    let private row value meaning usage name = { Name = name; Value = value; Meaning = meaning; Usage = usage }

    let private without reason = row OptionValue.Absent (Meaning.Nothing reason) ""

    let private valued check reason = row (OptionValue.Needed check) (Meaning.Nothing reason) ""

    let private anything (_: string) : Result<unit, string> = Ok()

    /// A row of an option that works, whose value `CommandLine` reads.
    let private works usage name = row (OptionValue.Needed anything) Meaning.Works usage name

    /// A row of an option that works, and has no value.
    let private switches usage name = row OptionValue.Absent Meaning.Works usage name

    let private number name least most = Values.checkNumber $"-o {name}" least most

    let private ofNumber reason least most name = valued (number name least most) reason name

    let private most = 2147483647L

    /// Every option of memcached 1.6.45 that lsmfs accepts or refuses, in the order of its help, those behind it that its help leaves out.
    let all: ExtendedOption list = [
        "maxconns_fast" |> switches "tell a connection over -c so and close it (default)"
        "no_maxconns_fast" |> switches "let connections over -c wait until one is free"
        "hashpower" |> ofNumber Because.noHashTable 12L 32L
        "tail_repair_time" |> ofNumber Because.noLru 10L most
        "hash_algorithm"
        |> valued (Values.checkWord "-o hash_algorithm" [ "jenkins"; "murmur3"; "xxh3" ]) Because.noHashTable
        "lru_crawler" |> without Because.noCrawler
        "no_lru_crawler" |> without Because.noCrawler
        "lru_crawler_sleep" |> ofNumber Because.noCrawler 0L 1000000L
        "lru_crawler_tocrawl" |> ofNumber Because.noCrawler 0L 4294967295L
        "read_buf_mem_limit"
        |> row
            (OptionValue.Needed(number "read_buf_mem_limit" 0L most))
            (Meaning.Missing
                "the buffers of connections have no limit in common, each is as large as its unfinished command and its replies")
            ""
        "lru_maintainer" |> without Because.noLru
        "no_lru_maintainer" |> without Because.noLru
        "hot_lru_pct" |> ofNumber Because.noLru 1L 80L
        "warm_lru_pct" |> ofNumber Because.noLru 1L 80L
        "hot_max_factor" |> valued (Values.checkFactor "-o hot_max_factor" 0.0) Because.noLru
        "warm_max_factor" |> valued (Values.checkFactor "-o warm_max_factor" 0.0) Because.noLru
        "temporary_ttl" |> ofNumber Because.noLru 0L most
        "idle_timeout" |> works "seconds after which an idle connection is closed; 0 never (default)"
        "slab_chunk_max" |> ofNumber Because.noSlabs 1L most
        "watcher_logbuf_size" |> ofNumber Because.noLogBuffers 0L most
        "worker_logbuf_size" |> ofNumber Because.noLogBuffers 0L most
        "track_sizes" |> without "sizes of items are not counted"
        "no_hashexpand" |> without Because.noHashTable
        "modern" |> row OptionValue.Absent (Meaning.Same "it does nothing in memcached 1.6 either") ""
        "no_modern" |> without Because.noSlabs
        "sock_cookie_id"
        |> row
            (OptionValue.Needed(number "sock_cookie_id" 0L 4294967295L))
            (Meaning.Missing "sockets are not marked, and rules of a firewall that look for the mark do not match")
            ""
        "ext_path"
        |> row
            (OptionValue.Needed anything)
            (Meaning.Missing "all items are in files, in the folder of --data, and nothing is written elsewhere")
            ""
        "ext_page_size" |> ofNumber Because.noExternalStorage 0L most
        "ext_wbuf_size" |> ofNumber Because.noExternalStorage 0L most
        "ext_threads" |> ofNumber Because.noExternalStorage 0L most
        "ext_item_size" |> ofNumber Because.noExternalStorage 0L most
        "ext_item_age" |> ofNumber Because.noExternalStorage 0L most
        "ext_low_ttl" |> ofNumber Because.noExternalStorage 0L most
        "ext_drop_unread" |> without Because.noExternalStorage
        "ext_recache_rate" |> ofNumber Because.noExternalStorage 0L most
        "ext_compact_under" |> ofNumber Because.noExternalStorage 0L most
        "ext_drop_under" |> ofNumber Because.noExternalStorage 0L most
        "ext_max_frag" |> valued (Values.checkFactor "-o ext_max_frag" 0.0) Because.noExternalStorage
        "ext_max_sleep" |> ofNumber Because.noExternalStorage 0L most
        "ext_io_depth" |> ofNumber Because.noExternalStorage 0L most
        "slab_automove_freeratio"
        |> valued (Values.checkFactor "-o slab_automove_freeratio" 0.0) Because.noSlabs
        "proxy_config"
        |> row
            (OptionValue.Needed anything)
            (Meaning.Refused "lsmfs is no proxy: it answers from its own data, and would pass nothing on")
            ""
        "proxy_arg" |> valued anything Because.noProxy
        "proxy_uring" |> without Because.noProxy
        "ssl_chain_cert" |> works "file of the server's certificate and those up to its root, PEM; for -Z"
        "ssl_key" |> works "file of the private key, if it is not in ssl_chain_cert"
        "ssl_keyformat" |> works "how ssl_key is stored: 1 or PEM (default), 2 or DER"
        "ssl_verify_mode"
        |> works "certificates of clients: 0 not asked for (default), 1 asked for, 2 or 3 required"
        "ssl_ciphers" |> works "ciphers of TLS 1.2, as OpenSSL lists them (default: the system's)"
        "ssl_ca_cert" |> works "file of the authorities whose clients are let in, PEM"
        "ssl_wbuf_size" |> works "KiB of replies that a connection encrypts at once (default: 16)"
        "ssl_session_cache"
        |> switches "let clients resume sessions that are without a client's certificate"
        "ssl_kernel_tls" |> without "encryption is done in the process, not in the kernel"
        "ssl_min_version" |> works "lowest version of TLS: 2 for 1.2 (default), 3 for 1.3"
        "slab_reassign" |> without Because.noSlabs
        "no_slab_reassign" |> without Because.noSlabs
        "slab_automove"
        |> row (OptionValue.Optional(number "slab_automove" 0L 2L)) (Meaning.Nothing Because.noSlabs) ""
        "no_slab_automove" |> without Because.noSlabs
        "slab_automove_ratio" |> valued (Values.checkFactor "-o slab_automove_ratio" 0.0) Because.noSlabs
        "slab_automove_window" |> ofNumber Because.noSlabs 3L 1799L
        "slab_sizes" |> valued anything Because.noSlabs
        "no_chunked_items" |> without Because.noSlabs
        "inline_ascii_resp"
        |> row OptionValue.Absent (Meaning.Same "it does nothing in memcached 1.6 either") ""
        "no_inline_ascii_resp"
        |> row OptionValue.Absent (Meaning.Same "it does nothing in memcached 1.6 either") ""
        "resp_obj_mem_limit"
        |> row (OptionValue.Optional anything) (Meaning.Same "it does nothing in memcached 1.6 either") ""
        "drop_privileges"
        |> row
            OptionValue.Absent
            (Meaning.Missing
                "system calls are not restricted from within; systemd's SystemCallFilter= does it from outside")
            ""
        "no_drop_privileges"
        |> row OptionValue.Absent (Meaning.Same "system calls are not restricted from within") ""
    ]

    let private unknown = Meaning.Missing "memcached 1.6.45 has no such option"

    let private read (setting: string) : Result<string * string * Meaning, string> =
        let equals = setting.IndexOf '='
        let name = if equals < 0 then setting else setting[.. equals - 1]
        let value = if equals < 0 then "" else setting[equals + 1 ..]
        let passed meaning = Result.map (fun () -> name, value, meaning)

        match all |> List.tryFind (fun option -> option.Name = name) with
        // Names come and go between releases of memcached, and a start script written for another one must still start.
        | None -> Ok(name, value, unknown)
        | Some { Value = OptionValue.Needed _ } when value = "" -> Error $"-o {name} needs a value, as in -o {name}=..."
        | Some { Value = OptionValue.Absent; Meaning = meaning } -> Ok(name, "", meaning)
        | Some { Value = OptionValue.Optional _; Meaning = meaning } when value = "" -> Ok(name, "", meaning)
        | Some {
                   Value = OptionValue.Optional check | OptionValue.Needed check
                   Meaning = meaning
               } -> check value |> passed meaning

    /// What the values of all `-o` say together, or the line that refuses one of them.
    let parse (texts: string list) : Result<ExtendedSettings, string> =
        let rec readAll settings given rest =
            match rest with
            | [] -> Ok(ExtendedSettings(settings, List.rev given))
            | setting :: rest ->
                match read setting with
                | Ok(name, value, meaning) ->
                    readAll ((name, value) :: settings) (($"-o {name}", meaning) :: given) rest
                | Error refusal -> Error refusal

        texts
        |> List.collect (fun text -> List.ofArray (text.Split(',', System.StringSplitOptions.RemoveEmptyEntries)))
        |> readAll [] []
