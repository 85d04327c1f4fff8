/// Random requests of the meta commands, mixed with classic ones for the same keys, for two servers to be compared by.
module LsmFs.Engine.Tests.MetaStreams

open System
open LsmFs.Engine.Tests.ClassicStreams
open LsmFs.Engine.Tests.Replies
open LsmFs.Engine.Tests.Words

/// Keys in base64, with what they are: some are plain keys too, one has a space in it, and the last ones are spelled in ways that a reader must not mind.
let private encodedKeys = [| "YQ=="; "Yg=="; "Zm9v"; "AAEC/w=="; "YSBi"; "bm9yZXBseQ==" |]

let private encodedKeysOfNoWord = [| "YSBi" |]

/// What is no base64, or not spelled as it should be.
let private encodedKeysOdd = [|
    "YQ"
    "YQ="
    "YR=="
    "!!"
    "===="
    "A==="
    "Zm!9v"
    "AA==AAAA"
    "Zm-_"
    "Zm9="
    String('Z', 248)
    String('Z', 252)
|]

/// Removes every key that a stream may use.
let beginning: string =
    [
        beginning
        for key in encodedKeys do
            $"md {key} b q\r\n"
            $"md {key} q\r\n"
        $"md {String('Z', 248)} b q\r\n"
        for key in [ "Zm8="; "AA=="; "Zm9v" ] do
            $"md {key} b q\r\n"
        "delete foo 0 noreply\r\n"
    ]
    |> String.concat ""

let private timesAhead = [| "0"; "1000"; "100000"; "2592000"; "2147483647" |]

let private times = [| yield! timesAhead; "-1"; "2592001"; "-2147483648" |]

let private timesBad = [| ""; "x"; "5x"; "+5"; "2147483648"; "99999999999999999999"; "1.5" |]

/// None is one that a server gives by itself.
let private ownUniques = [| "1000000000000001"; "1000000000000002"; "18446744073709551615" |]

let private uniques = [| yield! ownUniques; "0" |]

let private uniquesBad = [| ""; "x"; "-1"; "18446744073709551616"; "1x" |]

/// Opaques: with the O, 32 bytes are the most. One that is longer is left to the transcripts: memcached sees it after it has counted, and made an item for N.
let private opaques = [| ""; "1"; "abc"; "\255\001"; String('o', 30); String('o', 31) |]

/// Once in 25 times something wrong, which older peers answer in other words.
let private token (choices: Choices) (good: string[]) (bad: string[]) : string =
    if not choices.IsOld && once choices 25 then
        pick choices bad
    else
        pick choices good

let private time (choices: Choices) = token choices times timesBad

let private unique (choices: Choices) : string =
    if once choices 2 then
        casMark (choices.Random.Next 4)
    else
        token choices uniques uniquesBad

let private number (choices: Choices) : string =
    token choices [| "0"; "1"; "1"; "2"; "10"; "4294967296" |] [|
        "9223372036854775808"
        "18446744073709551615"
        "18446744073709551616"
        "-1"
        "x"
        ""
    |]

let private flag (choices: Choices) (letter: char) : string =
    match letter with
    | 'T'
    | 'N' -> $"{letter}{time choices}"
    // Nothing is near the lives that items are given.
    | 'R' -> "R" + token choices [| "30"; "0"; "-1"; "5000"; "500000" |] timesBad
    | 'C' -> $"C{unique choices}"
    // Not 0, and so none that was seen: memcached gives it to some items as it is, here it is as good as none.
    | 'E' -> "E" + token choices ownUniques uniquesBad
    | 'O' -> "O" + pick choices opaques
    | 'F' -> "F" + token choices [| "0"; "1"; "65536"; "4294967295" |] [| ""; "x"; "-1"; "1x" |]
    | 'J'
    | 'D' -> $"{letter}{number choices}"
    | letter -> string letter

/// Letters that are no flags of any command, and bytes that cannot be.
let private flagsBad = [|
    "z"
    "?"
    "1"
    "-"
    "\001"
    "\128"
    "B"
    "n"
    "W"
    "X"
    "Z"
    "L"
    "P"
    "Lx"
    "y"
    "kx"
    "qq"
    "v1"
|]

/// Some of the letters in any order, seldom twice, seldom with what is none.
let private flags (choices: Choices) (letters: string) (modes: string[]) : string list =
    let random = choices.Random

    let count =
        if once choices 30 && not choices.IsOld then
            random.Next(10, 23)
        else
            random.Next(0, 6)

    let drawn = [ for _ in 1..count -> letters[random.Next letters.Length] ]
    let isTwice = not choices.IsOld && once choices 25
    let drawn = if isTwice then drawn else List.distinct drawn

    // An item whose time is past answers t with a number that means nothing.
    let isTimed = List.contains 't' drawn

    [
        for letter in drawn do
            match letter with
            | 'M' -> "M" + pick choices modes
            | 'T'
            | 'N' when isTimed -> $"{letter}{token choices timesAhead timesBad}"
            | letter -> flag choices letter
        if not choices.IsOld && once choices 40 then
            pick choices flagsBad
    ]

/// A key, and the flag that says it is encoded.
let private key (choices: Choices) : string * string list =
    match choices.Random.Next 40 with
    | roll when roll < 6 -> pick choices encodedKeys, [ "b" ]
    | 6 when not choices.IsOld -> pick choices encodedKeysOdd, [ "b" ]
    | 7 when not choices.IsOld -> String('k', 251), []
    | 8 -> String('k', 250), []
    | 9 -> pick choices encodedKeys, []
    | _ -> pick choices choices.Keys, []

let private shuffled (choices: Choices) (words: string list) : string list =
    words |> List.sortBy (fun _ -> choices.Random.Next())

/// One name for all spellings of a key.
let private plain (key: string, encoded: string list) : string =
    match key, encoded with
    | "YQ==", [ _ ]
    | "YR==", [ _ ] -> "a"
    | "Yg==", [ _ ] -> "b"
    | "bm9yZXBseQ==", [ _ ] -> "noreply"
    | "Zm!9v", [ _ ] -> "Zm9v"
    | key, _ -> key

/// The letters without some, for a key that is no word: memcached forgets that it was encoded when it makes an item on a miss, joins to one or counts on in
/// a longer one, and tells it as it is; here such a key always goes out encoded.
let private lettersOfKey (key: string) (letters: string) (without: string) : string =
    if Array.contains key encodedKeysOfNoWord then
        String.filter (fun letter -> not (without.Contains letter)) letters
    else
        letters

let private metaGet (choices: Choices) : string =
    let key, encoded = key choices
    choices.Retrieved.Add(plain (key, encoded)) |> ignore

    let letters =
        if choices.IsOld then
            "vvvkcfstqOhtTNR"
        else
            "vvvkcfsthlquOTNRCEOvkc"


    let letters = lettersOfKey key letters "N"
    line choices ("mg" :: key :: shuffled choices (encoded @ flags choices letters [||]))

let private metaDelete (choices: Choices) : string =
    let key, encoded = key choices
    let letters = lettersOfKey key (if choices.IsOld then "kqOITC" else "kqOIITxCEO") "x"
    line choices ("md" :: key :: shuffled choices (encoded @ flags choices letters [||]))

let private metaArithmetic (choices: Choices) (key: string) (encoded: string list) : string =
    let modes =
        if choices.IsOld then
            [| "I"; "+"; "D"; "-" |]
        else
            [| "I"; "+"; "D"; "-"; "Ix"; "i"; "d"; "incr"; "X"; "" |]

    // Neither T nor E: when the number grows longer than the old value, memcached gives the time and the cas unique to the old item alone.
    // An old peer answers with a number that it makes in spite of q.
    let letters =
        if not choices.IsOld then "NNJDDMqOtvckC"
        elif once choices 2 then "NJDMOtvck"
        else "JDMqOtvck"

    line choices ("ma" :: key :: shuffled choices (encoded @ flags choices letters modes))

let private metaSet (choices: Choices) : string =
    let random = choices.Random
    let key, encoded = key choices
    let value = value choices
    let key, encoded = if value.Length > 200 then "long", [] else key, encoded

    let modes =
        if choices.IsOld then
            [| "S"; "E"; "A"; "P"; "R" |]
        else
            [| "S"; "E"; "A"; "P"; "R"; "A"; "E"; "s"; "e"; "set"; "append"; "X"; "" |]

    let letters = if choices.IsOld then "cFkOqTMC" else "cFIkOqsTMNCEMTIC"
    // A long value is not to be read as a line, of which a word that cannot be a flag would make it one.
    let flags =
        if key = "long" then
            []
        else
            shuffled choices (encoded @ flags choices (lettersOfKey key letters "M") modes)


    match random.Next 100 with
    | 0 when not choices.IsOld ->
        // A length that is none: the data is read as commands.
        line choices ([ "ms"; key; pick choices [| "x"; "-1"; "2147483647"; "1x" |] ] @ flags) + "mn\r\n"
    | 1 ->
        // Bytes that are not the end of the value. An E would be the cas unique of what is stored next there.
        let flags = flags |> List.filter (fun flag -> flag[0] <> 'E')
        line choices ([ "ms"; key; string value.Length ] @ flags) + value + "zz" + "nonsense\r\n"
    | 2 when not choices.IsOld -> line choices (List.truncate (random.Next(1, 3)) [ "ms"; key ])
    | _ -> line choices ([ "ms"; key; string value.Length ] @ flags) + value + "\r\n"

let private fixedLines = [| "mn"; "mn"; "mn x"; "me missing" |]

let private fixedLinesNew = [| "mg"; "md"; "ma"; "me"; "mg "; "mx a"; "MG a"; " mg a"; "me none b q"; "mn noreply" |]

/// One request.
let request (choices: Choices) : Request =
    let alone (text: string) = { Text = text; IsFirst = false }

    match choices.Random.Next 100 with
    | roll when roll < 32 -> alone (metaGet choices)
    | roll when roll < 54 -> alone (metaSet choices)
    | roll when roll < 66 -> alone (metaDelete choices)
    | roll when roll < 78 ->
        let key, encoded = key choices

        if
            not (choices.Retrieved.Contains(plain (key, encoded)))
            && not (Array.contains key encodedKeysOfNoWord)
        then
            alone (metaArithmetic choices key encoded)
        elif choices.IsWild || Array.contains key encodedKeysOfNoWord || once choices 2 then
            alone (metaDelete choices)
        else
            { Text = metaArithmetic choices key encoded; IsFirst = true }
    | roll when roll < 82 ->
        let from =
            if choices.IsOld || once choices 2 then
                fixedLines
            else
                fixedLinesNew

        alone (pick choices from + "\r\n")
    // Old peers tell a late expiry as a negative one.
    | 82 when not choices.IsOld -> alone $"me {pick choices choices.Keys}\r\n"
    | _ -> ClassicStreams.request choices
