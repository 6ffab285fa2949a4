// Trains a CLIP from random weights on Fashion-MNIST and classifies its test pictures zero-shot.
// Needs: the Debian package dataset-fashion-mnist (or the four IDX files elsewhere: --data FOLDER). Takes about 12 minutes on two cores.
//
//   dotnet run -c Release --project samples/TrainFashion -- [--data FOLDER] [--output FOLDER] [--epochs 5] [--rows N] [--augment] [--threads 2] [--seed 1]

using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Training;

string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

string data = Option("data", "/usr/share/datasets/fashion-mnist");
if (!File.Exists(Path.Combine(data, "train-images-idx3-ubyte.gz")))
{
    Console.Error.WriteLine($"'{data}' has no Fashion-MNIST: install the Debian package dataset-fashion-mnist, or name its folder with --data.");
    return 1;
}

// What a shop may call the ten classes; the first name stands for the class.
string[][] names =
[
    ["t-shirt", "top", "tee"], ["trouser", "pair of trousers", "pair of pants"], ["pullover", "sweater", "jumper"], ["dress", "gown"], ["coat", "jacket"],
    ["sandal", "flip-flop"], ["shirt", "blouse"], ["sneaker", "trainer", "running shoe"], ["bag", "handbag", "purse"], ["ankle boot", "boot"],
];
ZeroShotPrompts prompts = ZeroShotPrompts.Load(Path.Combine(AppContext.BaseDirectory, "prompts")); // classnames.txt has the first names
IReadOnlyList<string> classes = prompts.Labels!;

var ml = new MLContext(seed: 1);
IDataView Load(string split) => ml.Data.LoadIdx(Path.Combine(data, split + "-images-idx3-ubyte.gz"), Path.Combine(data, split + "-labels-idx1-ubyte.gz"),
    new() { ClassNames = classes, MaxRows = Number("rows", int.MaxValue) });
IDataView train = ml.Transforms.CustomMapping<Named, Captioned>((from, to) => to.Captions = Array.Find(names, n => n[0] == from.LabelText)!, null)
    .Fit(Load("train")).Transform(Load("train"));
IDataView test = Load("t10k");

bool augment = args.Contains("--augment");
DateTime shown = DateTime.MinValue;
var trainer = ml.Multimodal.Trainers.Contrastive(new()
{
    Image = "Image",
    Text = "Captions",
    Group = "Label",
    Templates = prompts.Templates,
    Epochs = Number("epochs", 5),
    BatchSize = 64,
    LearningRate = double.Parse(Option("lr", "1.5e-3"), CultureInfo.InvariantCulture),
    Seed = Number("seed", 1),
    Threads = Number("threads", 0),
    Augmentation = augment ? new() { HorizontalFlip = 0.5f, TranslatePixels = 2, Erase = 0.5f } : new() { HorizontalFlip = 0.5f },
    Checkpoints = Option("checkpoints", "") is { Length: > 0 } folder ? folder : null,
    Output = Option("output", "fashion-clip"),
    Progress = new Progress<TrainingStep>(s =>
    {
        if (s.Step < s.Steps && DateTime.UtcNow - shown < TimeSpan.FromSeconds(10)) return;
        shown = DateTime.UtcNow;
        Console.Error.WriteLine($"epoch {s.Epoch} step {s.Step:n0}/{s.Steps:n0} loss {s.Loss:f3} {s.SamplesPerSecond:n0} pictures/s {s.Elapsed:mm\\:ss} gone, {s.Remaining:mm\\:ss} left");
    }),
});
DateTime start = DateTime.UtcNow;
using MultimodalTransformer clip = trainer.Fit(train);
Console.WriteLine($"trained in {(DateTime.UtcNow - start).TotalMinutes:f1} minutes");

// Zero-shot: only the names of the classes are given.
using var zeroShot = ml.Transforms.ZeroShotClassify(new() { LoadedModel = clip.Model, Image = "Image", LoadedPrompts = prompts }).Fit(test);
Console.WriteLine(ml.Multimodal.EvaluateZeroShot(zeroShot.Transform(test)));
return 0;

sealed class Named
{
    public string LabelText { get; set; } = "";
}

sealed class Captioned
{
    [VectorType]
    public string[] Captions { get; set; } = [];
}
