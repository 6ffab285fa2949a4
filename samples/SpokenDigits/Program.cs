// Teaches a model to hear spoken digits from some speakers, and asks it about a speaker it has never heard, by words alone.
// Needs nothing: 160 recordings lie beside it. The results of the README need the Free Spoken Digit Dataset (--data FOLDER).
//
//   dotnet run -c Release --project samples/SpokenDigits -- [--data FOLDER] [--speakers a,b] [--epochs 60] [--output FOLDER] [--codec FOLDER] [--threads 1] [--seed 1]

using System.Globalization;
using Microsoft.ML;
using MLNetMultimodal;
using MLNetMultimodal.Training;
using SpokenDigits;

string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

string folder = Option("data", Path.Combine(AppContext.BaseDirectory, "recordings")), output = Option("output", "spoken-digits");
if (!Directory.Exists(folder))
{
    Console.Error.WriteLine($"there is no folder '{folder}'; name the one of the recordings, {{digit}}_{{speaker}}_{{take}}.wav, with --data.");
    return 1;
}
string[] words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const string template = "the spoken digit {}.";

var ml = new MLContext(seed: 1);
IDataView all = ml.Data.LoadAudioTextPairs(folder, new()
{
    Pattern = "{label}_{speaker}_{take}",
    LabelNames = words.Select((word, digit) => (word, digit)).ToDictionary(w => $"{w.digit}", w => w.word),
    CaptionTemplate = template,
});
string[] speakers = [.. ml.Data.CreateEnumerable<Recording>(all, reuseRowObject: false).Select(r => r.Speaker).Distinct()];
string[] held = Option("speakers", "") is { Length: > 0 } named ? named.Split(',') : speakers;
if (held.Except(speakers).FirstOrDefault() is { } unknown)
{
    Console.Error.WriteLine($"nobody is called '{unknown}'; there are {string.Join(", ", speakers)}.");
    return 1;
}

var table = new ResultTable(held);
var confusion = new long[words.Length, words.Length];
DateTime start = DateTime.UtcNow;
foreach (string speaker in held)
{
    IDataView train = ml.Data.FilterByCustomPredicate<Recording>(all, r => r.Speaker == speaker);
    IDataView test = ml.Data.FilterByCustomPredicate<Recording>(all, r => r.Speaker != speaker);

    // Sounds and captions of the other speakers; nothing of this one is seen before the end, not even to choose a model by it.
    using MultimodalTransformer model = ml.Multimodal.Trainers.Contrastive(Recipe.Options with
    {
        Audio = "AudioPath",
        Text = "Caption",
        Epochs = Number("epochs", Recipe.Epochs),
        Seed = Number("seed", 1),
        Threads = Number("threads", 1),
        Output = Path.Combine(output, speaker),
        Progress = new Progress<TrainingStep>(s =>
        {
            if (s.Step % 200 == 0) Console.Error.WriteLine($"without {speaker}: step {s.Step:n0} of {s.Steps:n0}, loss {s.Loss:f2}, {s.Remaining:mm\\:ss} left");
        }),
    }).Fit(train);

    // Zero-shot: only the words are given.
    using var zeroShot = ml.Transforms.ZeroShotClassify(new() { LoadedModel = model.Model, Audio = "AudioPath", Labels = words, Templates = [template] }).Fit(test);
    ZeroShotMetrics metrics = ml.Multimodal.EvaluateZeroShot(zeroShot.Transform(test), new() { Label = "LabelText" });
    for (int spoken = 0; spoken < words.Length; spoken++)
        for (int heard = 0; heard < words.Length; heard++) confusion[spoken, heard] += metrics.Confusion[spoken][heard];
    table.Add("sounds and words, zero-shot", speaker, metrics.Top1);

    table.Add("log-mel, linear", speaker, Baselines.LogMel(ml, train, test, Recipe.Sounds));
    if (Option("codec", "") is { Length: > 0 } codec) table.Add("codec tokens, linear", speaker, Baselines.Tokens(ml, train, test, codec));
    Console.Error.WriteLine($"without {speaker}: {metrics.Top1:p1} of {metrics.Rows} recordings, {(DateTime.UtcNow - start).TotalMinutes:f1} minutes since the beginning");
}

ConfusionMatrix.Save(Path.Combine(output, "confusion.png"), words, confusion);
Console.WriteLine(table);
Console.WriteLine($"{(DateTime.UtcNow - start).TotalMinutes / held.Length:f1} minutes a speaker; {Path.Combine(output, "confusion.png")}");
return 0;
