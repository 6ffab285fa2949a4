// Trains encoders on the 60,000 pictures of Fashion-MNIST without their labels, by a masked autoencoder and by data2vec, and fine-tunes
// them on 1 % of the labels beside the same encoder from random weights.
// Needs: the Debian package dataset-fashion-mnist (or the four IDX files elsewhere: --data FOLDER). README.md has figures and times.
//
//   dotnet run -c Release --project samples/Pretrain -- [--data FOLDER] [--output FOLDER] [--mae-epochs N] [--data2vec-epochs N]
//       [--labels-per-class 60] [--seeds 6] [--threads 1] [--only random|mae|data2vec] [--short]
//
// What was trained before stays in the output folder: a training that was broken off goes on, one that is done is not done again.

using System.Globalization;
using Microsoft.ML;
using MLNetMultimodal;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training;

string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);
void Print(FormattableString line) => Console.WriteLine(FormattableString.Invariant(line));

string data = Option("data", "/usr/share/datasets/fashion-mnist"), output = Option("output", "pretrained");
if (!File.Exists(Path.Combine(data, "train-images-idx3-ubyte.gz")))
{
    Console.Error.WriteLine($"'{data}' has no Fashion-MNIST: install the Debian package dataset-fashion-mnist, or name its folder with --data.");
    return 1;
}
bool isShort = args.Contains("--short"); // all of it in a minute, for a look at the flow; the figures mean nothing
int rows = isShort ? 2_000 : 60_000, testRows = isShort ? 500 : 10_000, perClass = Number("labels-per-class", isShort ? 10 : 60);
int seeds = Number("seeds", isShort ? 1 : 6), threads = Number("threads", 1);

var ml = new MLContext(seed: 1);
IDataView Load(string split, int most) => ml.Data.LoadIdx(
    Path.Combine(data, split + "-images-idx3-ubyte.gz"), Path.Combine(data, split + "-labels-idx1-ubyte.gz"), new() { MaxRows = most });
IDataView pictures = Load("train", rows), held = Load("t10k", testRows);

// The same encoder for all: patches of 4 pixels, 6 layers of width 128.
VitConfig encoder = VitConfig.Small28 with { MeanPooling = true, Blocks = VitConfig.Small28.Blocks with { Layers = 6 } };
AugmentationOptions varied = new() { HorizontalFlip = 0.5f, CropMinScale = 0.6f };

TransformerConfig decoder = MaeConfig.Small28.Decoder; // one layer of width 64, thrown away after the training

DateTime shown = DateTime.MinValue;
TrainingStep? last = null;
var progress = new Reporter(s =>
{
    last = s;
    if (s.Step < s.Steps && DateTime.UtcNow - shown < TimeSpan.FromSeconds(10)) return;
    shown = DateTime.UtcNow;
    Console.Error.WriteLine($"epoch {s.Epoch} step {s.Step:n0}/{s.Steps:n0} loss {s.Loss:f4} {s.SamplesPerSecond:n0} pictures/s {s.Elapsed:hh\\:mm\\:ss} gone, {s.Remaining:hh\\:mm\\:ss} left");
});

string maeFolder = Path.Combine(output, "mae"), data2vecFolder = Path.Combine(output, "data2vec"), randomFolder = Path.Combine(output, "random");
Directory.CreateDirectory(randomFolder);
File.WriteAllText(Path.Combine(randomFolder, "config.json"), new VitModel(encoder).ToConfigJson());
File.WriteAllText(Path.Combine(randomFolder, "preprocessor_config.json"), ImagePreprocessing.Clip(encoder.ImageSize).ToJson());
using (TorchModel model = TorchModel.Create(new VitModel(encoder).Full, 1)) Safetensors.Write(Path.Combine(randomFolder, "model.safetensors"), model.ToWeights());

(string Name, string Folder, Func<IEstimator<MultimodalTransformer>?> Trainer)[] starts =
[
    ("random", randomFolder, () => null),
    ("mae", maeFolder, () => ml.Multimodal.Trainers.MaskedModeling(new()
    {
        Image = "Image",
        ImageModel = new() { Encoder = encoder, Decoder = decoder, MaskRatio = 0.75f },
        Augmentation = varied,
        Epochs = Number("mae-epochs", isShort ? 1 : 36),
        BatchSize = 64,
        LearningRate = 1.5e-3,
        Beta2 = 0.95,
        Threads = threads,
        Checkpoints = Path.Combine(maeFolder, "checkpoints"),
        Output = maeFolder,
        Progress = progress,
    })),
    ("data2vec", data2vecFolder, () => ml.Multimodal.Trainers.SelfDistillation(new()
    {
        Image = "Image",
        ImageModel = encoder,
        Decoder = decoder,
        MasksPerTarget = 4,
        MaskShare = 0.75,
        Augmentation = varied,
        Epochs = Number("data2vec-epochs", isShort ? 1 : 3),
        BatchSize = 32,
        LearningRate = 1e-3,
        Beta2 = 0.95,
        Threads = threads,
        Checkpoints = Path.Combine(data2vecFolder, "checkpoints"),
        Output = data2vecFolder,
        Progress = progress,
    })),
];
string only = Option("only", "");
if (only.Length > 0) starts = [.. starts.Where(s => s.Name == only)];

LabelledPictures train = LabelledPictures.Load(data, "train"), test = LabelledPictures.Load(data, "t10k");
var vit = new VitModel(encoder);
// Each start has the same recipes to choose from, with the first draw of labels, by pictures of the training set that are in no draw. The test
// pictures are looked at with the recipe that was chosen, and have no part in the choice.
Recipe[] recipes = isShort ? [new(1e-3, 1, 2, 0), new(1e-3, 0.75, 2, 0.5)]
    : [new(1e-3, 1, 120, 0.5), new(1e-3, 0.75, 120, 0.5)];
int[] aside = train.Balanced(isShort ? 10 : 100, seed: 0);
Part validation = new(train, aside), tested = new(test, [.. Enumerable.Range(0, testRows)]);
Print($"{10 * perClass} labelled pictures of {rows:n0}, {perClass} of each class; top-1 of {testRows:n0} test pictures; recipes chosen by {aside.Length:n0} other training pictures\n");
foreach (var (name, folder, trainer) in starts)
{
    last = null;
    using MultimodalTransformer? trained = trainer()?.Fit(pictures);
    if (last is { } end) Print($"{name}: {end.Epoch} epoch(s), {end.Elapsed.TotalMinutes:f1} minutes in this run, {end.SamplesPerSecond:n0} pictures/s");
    IReadOnlyDictionary<string, TensorData>? weights = trained is null ? null : Weights(folder);
    double[] Top1(Recipe recipe, int seed) => Classifier.FineTune(vit, weights, new(train, train.Balanced(perClass, seed, aside)), [validation, tested], recipe, seed);
    var tried = recipes.Select(r => (Recipe: r, Top1: Top1(r, 1))).ToList();
    foreach (var (recipe, top1) in tried) Print($"  {name}, {recipe}: {top1[0]:p1} of the validation pictures");
    var best = tried.MaxBy(t => t.Top1[0]);
    double[] all = [best.Top1[1], .. Enumerable.Range(2, seeds - 1).Select(seed => Top1(best.Recipe, seed)[1])];
    double mean = all.Average(), deviation = Math.Sqrt(all.Average(v => (v - mean) * (v - mean)));
    Print($"{name}: {mean:p1} ± {100 * deviation:f1} over {seeds} draw(s) of the labels ({string.Join(", ", all.Select(v => v.ToString("p1", CultureInfo.InvariantCulture)))}), {best.Recipe}");

    // The encoder as it is, with a linear classifier on its embeddings.
    using MultimodalTransformer embed = ml.Transforms.MultimodalEmbed(new() { Model = folder, Image = "Image" }).Fit(pictures);
    LinearProbeMetrics probe = ml.Multimodal.EvaluateLinearProbe(
        ml.Data.Cache(embed.Transform(Load("train", Math.Min(rows, 40 * perClass))), "Label", "Embedding"), ml.Data.Cache(embed.Transform(held), "Label", "Embedding"),
        new() { Features = "Embedding", ShotsPerClass = perClass });
    Print($"{name}, linear probe: {probe.Top1:p1} ± {100 * probe.Top1Deviation:f1}\n");
}
return 0;

IReadOnlyDictionary<string, TensorData> Weights(string folder)
{
    using ModelWeights stored = ModelFiles.FromFolder(folder).OpenWeights();
    return CheckpointWeights.For(vit, stored, folder).ToDictionary(w => w.Key, w => TensorData.From(w.Value.ToSingles(), w.Value.Shape));
}

/// <summary>Tells at once; <see cref="Progress{T}"/> does later, on another thread.</summary>
sealed class Reporter(Action<TrainingStep> tell) : IProgress<TrainingStep>
{
    public void Report(TrainingStep value) => tell(value);
}
