// Trains a CLIP on five classes of Fashion-MNIST, teaches it the other five by full fine-tuning and by LoRA, and goes from the first
// model to the second by interpolating their weights (WiSE-FT).
// Needs: the Debian package dataset-fashion-mnist (or the IDX files elsewhere: --data FOLDER). Takes about 12 minutes on one core.
//
//   dotnet run -c Release --project samples/FineTuneClip -- [--data FOLDER] [--output FOLDER] [--rows N] [--epochs 4] [--tune-epochs 2]
//       [--lora-epochs 4] [--lora-rate 4e-3] [--rank 5] [--seed 1] [--start FOLDER: a model to begin with, in place of training one]

using System.Diagnostics;
using System.Globalization;
using FineTuneClip;
using Microsoft.ML;
using MLNetMultimodal;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Training;

string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

string data = Option("data", "/usr/share/datasets/fashion-mnist"), output = Option("output", "fine-tuned");
if (!File.Exists(Path.Combine(data, "train-images-idx3-ubyte.gz")))
{
    Console.Error.WriteLine($"'{data}' has no Fashion-MNIST: install the Debian package dataset-fashion-mnist, or name its folder with --data.");
    return 1;
}
ZeroShotPrompts prompts = ZeroShotPrompts.Load(Path.Combine(AppContext.BaseDirectory, "prompts"));
string[] classes = [.. prompts.Labels!], old = classes[..5], learned = classes[5..];

var ml = new MLContext(seed: 1);
IDataView Load(string split, string[] wanted) => ml.Data.FilterByCustomPredicate<Labelled>(
    ml.Data.LoadIdx(Path.Combine(data, split + "-images-idx3-ubyte.gz"), Path.Combine(data, split + "-labels-idx1-ubyte.gz"),
        new() { ClassNames = classes, MaxRows = Number("rows", int.MaxValue) }), row => !wanted.Contains(row.LabelText)); // true takes the row out
IDataView oldTrain = Load("train", old), newTrain = Load("train", learned), oldTest = Load("t10k", old), newTest = Load("t10k", learned);

double Accuracy(MultimodalModel model, IDataView test, string[] labels)
{
    using var zeroShot = ml.Transforms.ZeroShotClassify(new() { LoadedModel = model, Image = "Image", Labels = labels, LoadedPrompts = prompts }).Fit(test);
    return ml.Multimodal.EvaluateZeroShot(zeroShot.Transform(test)).Top1;
}

MultimodalTransformer Train(string name, IDataView rows, int epochs, double learningRate, Func<ContrastiveOptions, ContrastiveOptions> more)
{
    var clock = Stopwatch.StartNew();
    DateTime shown = DateTime.MinValue;
    MultimodalTransformer fitted = ml.Multimodal.Trainers.Contrastive(more(new()
    {
        Image = "Image",
        Text = "LabelText",
        Group = "LabelText",
        Templates = prompts.Templates,
        Epochs = epochs,
        LearningRate = learningRate,
        EmaDecay = 0.99,
        Seed = Number("seed", 1),
        Threads = Number("threads", 1),
        Augmentation = new() { HorizontalFlip = 0.5f },
        Output = Path.Combine(output, name),
        Progress = new Progress<TrainingStep>(s =>
        {
            if (DateTime.UtcNow - shown < TimeSpan.FromSeconds(10)) return;
            shown = DateTime.UtcNow;
            Console.Error.WriteLine($"{name}: step {s.Step:n0}/{s.Steps:n0} loss {s.Loss:f3} {s.SamplesPerSecond:n0} pictures/s");
        }),
    })).Fit(rows);
    Console.WriteLine($"{name}: trained in {clock.Elapsed.TotalMinutes:f1} minutes");
    return fitted;
}

int tuneEpochs = Number("tune-epochs", 2);
string start = Option("start", Path.Combine(output, "five-classes"));
if (!Directory.Exists(start)) Train("five-classes", oldTrain, Number("epochs", 4), 1.5e-3, o => o).Dispose();
using MultimodalModel known = MultimodalModel.Load(start);
using MultimodalTransformer full = Train("full", newTrain, tuneEpochs, 1e-3, o => o with { Initialize = start });
double loraRate = double.Parse(Option("lora-rate", "4e-3"), CultureInfo.InvariantCulture);
using MultimodalTransformer lora = Train("lora", newTrain, Number("lora-epochs", 2 * tuneEpochs), loraRate, o => o with
{
    Initialize = start,
    FineTuning = new()
    {
        Lora = new()
        {
            Rank = Number("rank", 5),
            Alpha = 2 * Number("rank", 5),
            Targets =
            [
                .. LoraConfig.PatchTargets, .. LoraConfig.AttentionTargets, .. LoraConfig.MlpTargets, "visual_projection", "text_projection",
            ],
        },
    },
});

using ModelWeights before = ModelFiles.FromFolder(start).OpenWeights(), after = full.Model.Files.OpenWeights();
long all = before.Values.Sum(w => w.Count);
LoraAdapter adapter = LoraAdapter.Load(ModelFiles.FromFolder(Path.Combine(output, "lora", "adapter")));
long adapted = adapter.Layers.Values.Sum(l => l.A.Count + l.B.Count);
Console.WriteLine($"\nold classes: {string.Join(", ", old)}; new: {string.Join(", ", learned)}; prompts ({prompts.Source}): {string.Join(" | ", prompts.Templates)}\n");
Console.WriteLine("model         trained weights    share   new top-1   old top-1   all ten");
foreach (var (name, model, trained) in new[] { ("five classes", known, 0L), ("full", full.Model, all), ("LoRA", lora.Model, adapted) })
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"{name,-12} {trained,16:n0} {100.0 * trained / all,7:f1}% {100 * Accuracy(model, newTest, learned),10:f2}% {100 * Accuracy(model, oldTest, old),10:f2}% {100 * All(model),8:f2}%"));

double All(MultimodalModel model) => Accuracy(model, Load("t10k", classes), classes);

Console.WriteLine("\nWiSE-FT: (1 - alpha) five classes + alpha full\nalpha   old top-1   new top-1   all ten");
var points = new List<(double, double, double)>();
for (int i = 0; i <= 10; i++)
{
    double alpha = i / 10.0;
    using MultimodalModel between = LoadWith(start, WeightInterpolation.Between(before, after, alpha));
    points.Add((alpha, Accuracy(between, oldTest, old), Accuracy(between, newTest, learned)));
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"{alpha,5:f1} {100 * points[^1].Item2,10:f2}% {100 * points[^1].Item3,10:f2}% {100 * All(between),8:f2}%"));
}
string picture = Path.Combine(output, "wise-ft.png");
Curve.Save(picture, points);
Console.WriteLine($"\nThe curve is in {picture}; the models and the adapter are beside it.");
return 0;

static MultimodalModel LoadWith(string folder, IReadOnlyDictionary<string, TensorData> weights)
{
    ModelFiles files = ModelFiles.FromFolder(folder);
    var content = files.List().ToDictionary(name => name, files.Read);
    using var stream = new MemoryStream();
    Safetensors.Write(stream, weights);
    content["model.safetensors"] = stream.ToArray();
    return MultimodalModel.Load(ModelFiles.FromMemory("between", content));
}

sealed class Labelled
{
    public string LabelText { get; set; } = "";
}
