/// The engine computes and does nothing else: this reads the built assembly and fails when it refers to a file, a socket, a clock, a
/// random source, a thread, a lock, the environment or the console. What a type does through reflection or a delegate it is given is
/// out of sight here.
module LsmFs.Engine.Tests.PurityTests

open System
open System.IO
open System.Reflection.Metadata
open System.Reflection.Metadata.Ecma335
open System.Reflection.PortableExecutable
open Expecto
open LsmFs.Engine

/// The assemblies that an engine may be made of: the language, checksums and compression, and the facades of the base library that hold data types.
let private allowedAssemblies =
    set [
        "FSharp.Core"
        "K4os.Compression.LZ4"
        "System.Collections"
        "System.Collections.Immutable"
        "System.IO.Hashing"
        "System.Linq"
        "System.Memory"
        "System.Numerics.Vectors"
        "System.Runtime"
        "System.Runtime.Extensions"
        "System.Runtime.InteropServices"
        "System.Runtime.Intrinsics"
        "System.Text.Encoding.Extensions"
        // Volatile; its other types are refused below.
        "System.Threading"
        "ZstdSharp"
    ]

/// Namespaces that are refused with all below them, and what in them is data or a memory barrier after all.
let private refusedNamespaces = [
    "System.IO", [ "System.IO.Hashing." ]
    "System.Net", []
    "System.Threading", [ "System.Threading.Volatile"; "System.Threading.Interlocked" ]
    "System.Timers", []
    "System.Security.Cryptography", []
    "Microsoft.Win32", []
    // Asynchronous workflows, mailboxes, events and `lazy`, which locks. The compiler names the extensions in every assembly.
    "Microsoft.FSharp.Control", [ "Microsoft.FSharp.Control.TaskBuilderExtensions." ]
]

/// Types that are refused whole.
let private refusedTypes =
    set [
        "System.AppContext"
        "System.AppDomain"
        "System.Console"
        "System.Diagnostics.Process"
        "System.Diagnostics.Stopwatch"
        "System.Environment"
        "System.Lazy`1"
        "System.Random"
        "System.Runtime.InteropServices.NativeLibrary"
        "System.TimeProvider"
        "System.TimeZoneInfo"
    ]

/// Members that are refused on types that are data otherwise.
let private refusedMembers =
    set [
        "System.DateTime::get_Now"
        "System.DateTime::get_Today"
        "System.DateTime::get_UtcNow"
        "System.DateTimeOffset::get_Now"
        "System.DateTimeOffset::get_UtcNow"
        "System.Guid::CreateVersion7"
        "System.Guid::NewGuid"
    ]

let private isRefusedType (name: string) =
    refusedTypes.Contains name
    || refusedNamespaces
       |> List.exists (fun (space, exceptions) ->
           name.StartsWith(space + ".", StringComparison.Ordinal)
           && not (exceptions |> List.exists (fun allowed -> name.StartsWith(allowed, StringComparison.Ordinal))))

let private isRefusedMember (name: string) =
    refusedMembers.Contains name
    // Of Interlocked the fence alone: a compare-and-swap is a decision about threads.
    || name.StartsWith("System.Threading.Interlocked::", StringComparison.Ordinal)
       && name <> "System.Threading.Interlocked::MemoryBarrier"

/// Everything in the assembly that the rules above refuse, by full name.
let private impurities (assemblyPath: string) : Set<string> =
    use file = new PEReader(File.OpenRead assemblyPath)
    let metadata = file.GetMetadataReader()

    let rec typeName (handle: TypeReferenceHandle) : string =
        let reference = metadata.GetTypeReference handle
        let name = metadata.GetString reference.Name

        if reference.ResolutionScope.Kind = HandleKind.TypeReference then
            typeName (TypeReferenceHandle.op_Explicit reference.ResolutionScope) + "+" + name
        else
            metadata.GetString reference.Namespace + "." + name

    let assemblies =
        metadata.AssemblyReferences
        |> Seq.map (fun handle -> metadata.GetString (metadata.GetAssemblyReference handle).Name)
        |> Seq.filter (fun name -> not (allowedAssemblies.Contains name))

    let types = metadata.TypeReferences |> Seq.map typeName |> Seq.filter isRefusedType

    let members =
        metadata.MemberReferences
        |> Seq.map metadata.GetMemberReference
        |> Seq.filter (fun reference -> reference.Parent.Kind = HandleKind.TypeReference)
        |> Seq.map (fun reference ->
            typeName (TypeReferenceHandle.op_Explicit reference.Parent)
            + "::"
            + metadata.GetString reference.Name)
        |> Seq.filter isRefusedMember

    // A module reference is the library of a P/Invoke.
    let libraries =
        seq { 1 .. metadata.GetTableRowCount TableIndex.ModuleRef }
        |> Seq.map (fun row ->
            let handle = MetadataTokens.ModuleReferenceHandle row
            "P/Invoke into " + metadata.GetString (metadata.GetModuleReference handle).Name)

    Seq.concat [ assemblies; types; members; libraries ] |> Set.ofSeq

/// Never called. It breaks the rules, so that the check can be seen to see.
module private Offences =

    [<System.Runtime.InteropServices.DllImport "libc">]
    extern int getpid()

    let all () : (obj | null) list = [
        File.ReadAllBytes ""
        Directory.GetFiles ""
        Path.GetTempPath()
        new MemoryStream()
        new Net.Sockets.TcpClient()
        DateTime.Now
        DateTime.UtcNow
        DateTimeOffset.UtcNow
        Diagnostics.Stopwatch.GetTimestamp()
        TimeProvider.System
        Environment.TickCount64
        Random.Shared
        Security.Cryptography.RandomNumberGenerator.GetBytes 1
        Guid.NewGuid()
        Threading.Thread.CurrentThread
        Threading.Tasks.Task.CompletedTask
        Threading.Monitor.TryEnter(obj ())
        Threading.Lock()
        new Threading.Timer(fun _ -> ())
        Threading.Interlocked.Increment(ref 0)
        async { return 1 }
        lazy 1
        Console.ReadLine()
        Diagnostics.Process.GetCurrentProcess()
        getpid ()
        printfn ""
    ]

/// What `Offences` must be found out for.
let private offences =
    set [
        "P/Invoke into libc"
        "Microsoft.FSharp.Control.FSharpAsync`1"
        "Microsoft.FSharp.Control.LazyExtensions"
        "System.Console"
        "System.DateTime::get_Now"
        "System.DateTime::get_UtcNow"
        "System.DateTimeOffset::get_UtcNow"
        "System.Diagnostics.Process"
        "System.Diagnostics.Stopwatch"
        "System.Environment"
        "System.Guid::NewGuid"
        "System.IO.Directory"
        "System.IO.File"
        "System.IO.MemoryStream"
        "System.IO.Path"
        "System.Net.Sockets.TcpClient"
        "System.Random"
        "System.Security.Cryptography.RandomNumberGenerator"
        "System.Threading.Interlocked::Increment"
        "System.Threading.Lock"
        "System.Threading.Monitor"
        "System.Threading.Tasks.Task"
        "System.Threading.Thread"
        "System.Threading.Timer"
        "System.TimeProvider"
        // An assembly that is not on the list.
        "Expecto"
    ]

[<Tests>]
let tests =
    testList "Purity" [
        test "the engine touches no file, socket, clock, random source, thread, lock, environment or console" {
            let found = impurities typeof<Entry>.Assembly.Location
            Expect.equal found Set.empty "the engine computes, the host waits"
        }

        test "an assembly that does is found out, offence by offence" {
            let found = impurities (Reflection.Assembly.GetExecutingAssembly().Location)
            Expect.equal (Set.difference offences found) Set.empty "every offence is seen"
        }
    ]
