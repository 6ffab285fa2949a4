// Measures this library against others, side by side, and writes BENCHMARKS.md.
//
//   dotnet run -c Release --project tests/MLNetMultimodal.Benchmarks -- [SECTION … | all | report] [--quick] [--output FOLDER]
//
// Each section answers a question and is one file in Sections.

using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Benchmarks.Sections;
using MLNetMultimodal.Training;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is [ChildProcess.Verb, var job, .. var rest])
{
    Console.WriteLine(JsonSerializer.Serialize(Cold.Jobs.Concat(Steady.Jobs).Concat(Audio.Jobs).ToDictionary()[job](rest)));
    return 0;
}

// Sections that use torch themselves need the library's loader in place before.
RuntimeHelpers.RunModuleConstructor(typeof(TorchModel).Module.ModuleHandle);
Section[] sections =
[
    new("image-pipeline", "Pictures through an ML.NET pipeline", ImagePipeline.Measure),
    new("node", "The same folder in Transformers.js", Node.Measure),
    new("peak", "Share of what the processor can do", Peak.Measure),
    new("profile", "Where the engine's time goes", Profile.Measure),
    new("text", "Texts", Text.Measure),
    new("preprocess", "Preprocessing of pictures", Preprocess.Measure),
    new("audio", "Sounds", Audio.Measure),
    new("training", "Training", Training.Measure),
    new("cold", "From the start of a process to its first embedding", Cold.Measure),
    new("steady", "Long passes", Steady.Measure),
    new("files", "Embeddings into files", Files.Measure),
    new("micro", "Small parts alone", Micro.Measure, OnDemand: true),
];

string? output = null;
bool quick = false;
var names = new List<string>();
for (int i = 0; i < args.Length; i++)
{
    if (args[i] == "--quick") quick = true;
    else if (args[i] == "--output" && i + 1 < args.Length) output = args[++i];
    else names.Add(args[i]);
}
if (names.Count == 0) names.Add("all");
if (names.Find(name => name is not ("all" or "report") && !sections.Any(s => s.Name == name)) is { } unknown)
{
    string known = string.Join(", ", sections.Select(s => s.Name));
    Console.Error.WriteLine($"there is no section '{unknown}'; there are all, report (the page again), {known}.");
    return 2;
}
string arguments = string.Join(' ', quick ? [.. names, "--quick"] : names);
string command = $"dotnet run -c Release --project tests/MLNetMultimodal.Benchmarks -- {arguments}";
return new Runner(quick, output, command).Run(sections, names);
