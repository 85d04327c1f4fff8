using LsmFs.Cli;
using LsmFs.Host;

switch (CommandLine.Parse(args))
{
    case ParsedCommandLine.Serve serve:
        return await ServeCommand.RunAsync(serve.Options);

    case ParsedCommandLine.Tree tree:
        return ToolCommand.Run(() => TreeCommand.Run(tree.Options));

    case ParsedCommandLine.Check check:
        return ToolCommand.Run(() => CheckCommand.Run(check.Options));

    case ParsedCommandLine.Dump dump:
        return ToolCommand.Run(() => DumpCommand.Run(dump.Options));

    case ParsedCommandLine.Load load:
        return ToolCommand.Run(() => LoadCommand.Run(load.Options));

    case ParsedCommandLine.Backup backup:
        return ToolCommand.Run(() => BackupCommand.Run(backup.Options));

    case ParsedCommandLine.Salvage salvage:
        return ToolCommand.Run(() => SalvageCommand.Run(salvage.Options));

    case ParsedCommandLine.Compact compact:
        return ToolCommand.Run(() => CompactCommand.Run(compact.Options));

    case ParsedCommandLine.Stats stats:
        return ToolCommand.Run(() => StatsCommand.Run(stats.Options));

    case ParsedCommandLine.ShowHelp help:
        Console.Out.WriteLine(help.HelpText);
        return ExitCode.Success;

    case ParsedCommandLine.ShowVersion version:
        Console.Out.WriteLine(version.VersionText);
        return ExitCode.Success;

    case ParsedCommandLine.ShowLicense license:
        Console.Out.WriteLine(license.LicenseText);
        return ExitCode.Success;

    case ParsedCommandLine.Refuse refusal:
        Console.Error.WriteLine(refusal.Reason);
        return CommandLine.RefusalExitCode;

    default:
        throw new InvalidOperationException("the command line asks for something that the program does not know");
}
