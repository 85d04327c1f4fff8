/// What `dotnet fsi build.fsx pack` makes is used as somebody else would: by projects outside of the repository that name the packages and nothing else.
module LsmFs.Scripts.Tests.PackageTests

open System
open System.Diagnostics
open System.IO
open Expecto

let private root = Path.GetFullPath(Path.Combine(__SOURCE_DIRECTORY__, "..", ".."))

/// Runs `dotnet` in a folder; what it printed, when it went well.
let private dotnet (folder: string) (arguments: string list) : string =
    let info = ProcessStartInfo("dotnet", arguments, WorkingDirectory = folder)
    info.RedirectStandardOutput <- true
    info.RedirectStandardError <- true
    info.Environment["DOTNET_NOLOGO"] <- "1"
    info.Environment["DOTNET_CLI_TELEMETRY_OPTOUT"] <- "1"
    // A server that stays would keep the folder.
    info.Environment["MSBUILDDISABLENODEREUSE"] <- "1"
    info.Environment["UseSharedCompilation"] <- "false"
    use child = nonNull (Process.Start info)
    let errors = child.StandardError.ReadToEndAsync()
    let output = child.StandardOutput.ReadToEndAsync()

    if not (child.WaitForExit 300_000) then
        child.Kill true
        failtest $"""dotnet {String.concat " " arguments} does not end"""

    Expect.equal child.ExitCode 0 $"""dotnet {String.concat " " arguments}: {output.Result}{errors.Result}"""
    output.Result.ReplaceLineEndings "\n"

/// The folder of packages that this machine's projects are restored to.
let private sharedPackages () : string =
    (dotnet root [ "nuget"; "locals"; "global-packages"; "--list" ]).Trim().Substring("global-packages: ".Length)

/// A folder with a feed of this build's packages, beside which projects can be made. Their version is no other's, and they are unpacked in the folder, so that
/// neither an older package is taken for them nor one of them stays; everything else comes from where the repository's own packages are.
let private workshop =
    lazy
        (let folder = Directory.CreateTempSubdirectory "lsmfs-packages-"
         AppDomain.CurrentDomain.ProcessExit.Add(fun _ -> folder.Delete true)
         let version = $"0.0.0-test.{Guid.NewGuid():N}"
         let feed = Path.Combine(folder.FullName, "feed")

         dotnet root [
             "pack"
             Path.Combine(root, "LsmFs.sln")
             "-c"
             "Release"
             "--no-build"
             "--nologo"
             "-o"
             feed
             $"-p:Version={version}"
         ]
         |> ignore

         File.WriteAllText(
             Path.Combine(folder.FullName, "nuget.config"),
             $"""<configuration>
  <config><add key="globalPackagesFolder" value="packages" /></config>
  <packageSources><add key="this build" value="{feed}" /></packageSources>
  <fallbackPackageFolders><add key="shared" value="{sharedPackages ()}" /></fallbackPackageFolders>
</configuration>"""
         )

         folder.FullName, feed, version)

/// Builds and runs a project of one file that refers to these packages; what it printed.
let private run (name: string) (extension: string) (packages: string list) (program: string) : string =
    let folder, _, version = workshop.Value
    let project = Path.Combine(folder, name)
    Directory.CreateDirectory project |> ignore
    File.WriteAllText(Path.Combine(project, $"Program.{extension}"), program)

    let references =
        packages
        |> List.map (fun package -> $"""<PackageReference Include="{package}" Version="{version}" />""")
        |> String.concat ""

    // As packaging/README.md says, for an SDK whose own is older.
    let core =
        let versions = File.ReadAllText(Path.Combine(root, "Directory.Packages.props"))
        let found = Text.RegularExpressions.Regex.Match(versions, "\"FSharp.Core\" Version=\"([^\"]+)\"")
        $"""<PackageReference Update="FSharp.Core" Version="{found.Groups[1].Value}" />"""

    let forFSharp =
        if extension = "fs" then
            $"""<Compile Include="Program.fs" />{core}"""
        else
            ""

    File.WriteAllText(
        Path.Combine(project, $"{name}.{extension}proj"),
        $"""<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net10.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
    <Nullable>enable</Nullable>
    <UseAppHost>false</UseAppHost>
    <NuGetAudit>false</NuGetAudit>
    <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
  </PropertyGroup>
  <ItemGroup>{forFSharp}{references}</ItemGroup>
</Project>"""
    )

    dotnet project [ "build"; "-c"; "Release"; "--nologo"; "-o"; "out" ] |> ignore
    dotnet project [ Path.Combine("out", $"{name}.dll") ]

[<Tests>]
let tests =
    testSequenced
    <| testList "Packages" [
        testCase
            "each package has its assembly, documentation, symbols, licence and readme, and they name each other"
            (fun () ->
                let _, feed, version = workshop.Value

                let names =
                    Directory.GetFiles feed |> Array.map (fun path -> string (Path.GetFileName path)) |> Array.sort

                let expected = [
                    "LsmFs", "lsmfs"
                    "LsmFs.Cli", "LsmFs.Cli"
                    "LsmFs.Engine", "LsmFs.Engine"
                    "LsmFs.Simulation", "LsmFs.Simulation"
                ]

                Expect.sequenceEqual
                    names
                    (expected
                     |> List.collect (fun (package, _) -> [
                         $"{package}.{version}.nupkg"
                         $"{package}.{version}.snupkg"
                     ])
                     |> List.sort)
                    "the feed"

                for package, assembly in expected do
                    let entries (extension: string) =
                        use archive =
                            Compression.ZipFile.OpenRead(Path.Combine(feed, $"{package}.{version}.{extension}"))

                        archive.Entries |> Seq.map _.FullName |> List.ofSeq

                    let lib =
                        entries "nupkg"
                        |> List.filter (fun name -> name.StartsWith("lib/", StringComparison.Ordinal))
                        |> List.sort

                    Expect.equal lib [ $"lib/net10.0/{assembly}.dll"; $"lib/net10.0/{assembly}.xml" ] package
                    Expect.contains (entries "nupkg") "README.md" package
                    Expect.contains (entries "snupkg") $"lib/net10.0/{assembly}.pdb" package

                    use archive = Compression.ZipFile.OpenRead(Path.Combine(feed, $"{package}.{version}.nupkg"))
                    use nuspec = (nonNull (archive.GetEntry $"{package}.nuspec")).Open()
                    let document = Xml.Linq.XDocument.Load nuspec

                    let elements (name: string) =
                        document.Descendants()
                        |> Seq.filter (fun element -> element.Name.LocalName = name)
                        |> List.ofSeq

                    Expect.equal (elements "license" |> List.map _.Value) [ "MIT" ] package

                    for dependency in elements "dependency" do
                        let attribute (name: string) = (nonNull (dependency.Attribute(Xml.Linq.XName.Get name))).Value

                        if (attribute "id").StartsWith("LsmFs", StringComparison.OrdinalIgnoreCase) then
                            Expect.contains (List.map fst expected) (attribute "id") package
                            Expect.equal (attribute "version") version package)

        testCase "a program in C# embeds the store, and finds what it put when it opens it again" (fun () ->
            let output =
                run
                    "Embedding"
                    "cs"
                    [ "LsmFs" ]
                    """
using System.Text;
using LsmFs.Engine;
using LsmFs.Host;
using Microsoft.Extensions.Logging.Abstractions;

var options = new StoreOptions { DataFolder = "data", Durability = Durability.Sync };

using (var store = Store.Open(options, NullLogger.Instance))
{
    store.Write(new WriteBatch().Put("user:1"u8, "Ada"u8).Put("user:2"u8, "Grace"u8).Put("user:3"u8, "nobody"u8));
    store.Write(new WriteBatch().Delete("user:3"u8));
}

using (var store = Store.Open(options, NullLogger.Instance))
{
    Console.WriteLine(Encoding.UTF8.GetString(store.Get("user:1"u8)!));
    Console.WriteLine(store.Get("user:3"u8) is null);
    using var snapshot = store.CreateSnapshot();
    foreach (var entry in snapshot.Scan())
    {
        Console.WriteLine($"{Encoding.UTF8.GetString(entry.Key)}={Encoding.UTF8.GetString(entry.Value)}");
    }
}
"""

            Expect.equal output "Ada\nTrue\nuser:1=Ada\nuser:2=Grace\n" "what the program found")

        testCase
            "a test in F# has its own invariant checked by the simulator, which finds a disk that breaks it"
            (fun () ->
                let output =
                    run
                        "Simulating"
                        "fs"
                        [ "LsmFs"; "LsmFs.Simulation" ]
                        """
open System
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Simulation

type Step = Increment

/// A counter that goes up by one, in two keys that are written together.
type Counter() =
    inherit Workload<Step>()
    let read (store: Store) (key: byte[]) =
        match store.Get(ReadOnlySpan key) with
        | null -> 0
        | bytes -> BitConverter.ToInt32(bytes, 0)

    override _.Next _ = Increment

    override _.Run(store, Increment) =
        let next = ReadOnlySpan(BitConverter.GetBytes(read store "left"B + 1))
        store.Write(WriteBatch().Put(ReadOnlySpan "left"B, next).Put(ReadOnlySpan "right"B, next))

    override _.Check(store, past) =
        let left, right = read store "left"B, read store "right"B
        let acknowledged = past |> List.filter _.IsAcknowledged |> List.length
        if left <> right then failwith $"left {left}, right {right}"
        if left < acknowledged then failwith $"{left} of {acknowledged} are left"
        if left > past.Length then failwith $"{left} of {past.Length} are there"

type OnLyingDisk() =
    inherit Counter()
    override _.FaultOf operation = if operation.Kind = "sync" then Some SyncIgnored else None

let machine = SimulatedMachine()
machine.OpenStore(Durability.Sync).Write(WriteBatch().Put(ReadOnlySpan "key"B, ReadOnlySpan "value"B))
machine.Crash NothingUnsynced

match (machine.OpenStore Durability.Sync).Get(ReadOnlySpan "key"B) with
| null -> printfn "lost"
| value -> printfn "%s" (Text.Encoding.ASCII.GetString value)


Workload.verify (Counter()) 1 50
printfn "50 seeds"

match Workload.find (OnLyingDisk()) 1 50 with
| Some failure -> printfn "found: %b" (failure.Schedule.Length <= 2)
| None -> printfn "nothing was found"
"""

                Expect.equal output "value\n50 seeds\nfound: true\n" "what the program found")

        testCase "and a test in C# inherits the same class" (fun () ->
            let output =
                run
                    "SimulatingToo"
                    "cs"
                    [ "LsmFs.Simulation" ]
                    """
using LsmFs.Host;
using LsmFs.Simulation;
using Microsoft.FSharp.Collections;

Workload.verify(new LastWins(), 1, 50);
Console.WriteLine("50 seeds");

sealed class LastWins : Workload<int>
{
    public override int Next(Random random) => random.Next();

    public override void Run(Store store, int step) => store.Write(new WriteBatch().Put("key"u8, BitConverter.GetBytes(step)));

    public override void Check(Store store, FSharpList<PastStep<int>> past)
    {
        var since = past.Reverse().TakeWhile(step => !step.IsAcknowledged).Count() + 1;
        var allowed = past.TakeLast(since).Select(step => (int?)step.Step);
        int? found = store.Get("key"u8) is { } bytes ? BitConverter.ToInt32(bytes) : null;
        if (!allowed.Contains(found) && !(found is null && !past.Any(step => step.IsAcknowledged)))
        {
            throw new InvalidOperationException($"{found} was not the last");
        }
    }
}
"""

            Expect.equal output "50 seeds\n" "what the program found")
    ]
