// Predicts the class of a garment from its picture, a note about it and its spoken class number, each of them too noisy to be enough,
// and shows what is left when one of them is missing.
// Needs: the Debian package dataset-fashion-mnist (or the IDX files elsewhere: --data FOLDER), and recordings of spoken digits named
// DIGIT_SPEAKER_TAKE.wav (--audio FOLDER; the few of the sample SpokenDigits by default). See README.md.
//
//   dotnet run -c Release --project samples/FuseImageTextAudio -- [--data FOLDER] [--audio FOLDER] [--output FOLDER] [--rows 4000]
//       [--test-rows 2000] [--epochs 12] [--seed 1] [--threads 1] [--pairs: models of two senses too] [--quick]

using System.Diagnostics;
using System.Globalization;
using FuseImageTextAudio;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Training;

bool quick = args.Contains("--quick"), pairs = args.Contains("--pairs");
string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

string data = Option("data", "/usr/share/datasets/fashion-mnist"), output = Option("output", "fused");
string audio = Option("audio", Path.Combine(AppContext.BaseDirectory, "recordings"));
if (!File.Exists(Path.Combine(data, "train-images-idx3-ubyte.gz")) || !Directory.Exists(audio))
{
    Console.Error.WriteLine($"'{data}' must hold Fashion-MNIST (the Debian package dataset-fashion-mnist) and '{audio}' recordings of spoken digits; name other folders with --data and --audio.");
    return 1;
}
string[] classes = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"];
int seed = Number("seed", 1);
var ml = new MLContext(seed);
var noise = new Noise();

// Every fourth take of each speaker is kept for the test: it is heard there for the first time, as its pictures are seen.
var recordings = Directory.EnumerateFiles(audio, "?_*_*.wav").Order(StringComparer.Ordinal).Select(path => (
    Digit: Path.GetFileName(path)[0] - '0',
    Take: int.Parse(Path.GetFileNameWithoutExtension(path).Split('_')[2], CultureInfo.InvariantCulture),
    Sound: AudioDecoder.Default.Decode(path, 8000, 1))).ToArray();
IDataView Load(string split, int rows, bool isTest)
{
    ILookup<int, Waveform> sounds = recordings.Where(r => r.Take % 4 == 3 == isTest).ToLookup(r => r.Digit, r => r.Sound);
    var mix = new Mix(noise, classes, seed + (isTest ? 1 : 0));
    IDataView pictures = ml.Data.LoadIdx(Path.Combine(data, split + "-images-idx3-ubyte.gz"), Path.Combine(data, split + "-labels-idx1-ubyte.gz"),
        new() { ClassNames = classes, MaxRows = rows });
    MixedRow[] mixed = [.. pictures.GetColumn<MLImage>("Image").Zip(pictures.GetColumn<string>("LabelText"),
        (image, label) => mix.Row(Array.IndexOf(classes, label), Picture(image), sounds))];
    return ml.Data.LoadFromEnumerable(mixed);
}

static RgbImage Picture(MLImage image)
{
    using (image)
    {
        ReadOnlySpan<byte> pixels = image.Pixels; // grey: blue, green and red are alike
        var rgb = new byte[3 * image.Width * image.Height];
        for (int i = 0; i < rgb.Length; i++) rgb[i] = pixels[4 * (i / 3)];
        return new(image.Width, image.Height, rgb);
    }
}

IDataView train = Load("train", quick ? 600 : Number("rows", 4000), isTest: false), test = Load("t10k", quick ? 300 : Number("test-rows", 2000), isTest: true);
ITransformer keys = ml.Transforms.Conversion.MapValueToKey("Label", "LabelText").Fit(ml.Data.LoadFromEnumerable(classes.Select(c => new MixedRow { LabelText = c })));
(train, test) = (keys.Transform(train), keys.Transform(test));

FusionTransformer Train(string name, bool image, bool text, bool sound, double dropout)
{
    var clock = Stopwatch.StartNew();
    DateTime shown = DateTime.MinValue;
    FusionTransformer model = ml.MulticlassClassification.Trainers.CrossModalFusion(new()
    {
        Image = image ? "Image" : null,
        Text = text ? "Text" : null,
        Audio = sound ? "Audio" : null,
        AudioSampleRateHz = 8000,
        ModalityDropout = dropout,
        Spectrogram = SpectrogramPreprocessing.Ast(64) with { LogMel = LogMelConfig.Kaldi(melBins: 64) },
        Epochs = quick ? 2 : Number("epochs", 12),
        LearningRate = 2e-3,
        EmaDecay = 0.98,
        Seed = seed,
        Threads = Number("threads", 1),
        Output = Path.Combine(output, name),
        Progress = new Progress<TrainingStep>(s =>
        {
            if (DateTime.UtcNow - shown < TimeSpan.FromSeconds(10)) return;
            shown = DateTime.UtcNow;
            Console.Error.WriteLine($"{name}: step {s.Step:n0}/{s.Steps:n0} loss {s.Loss:f3} {s.SamplesPerSecond:n0} rows/s");
        }),
    }).Fit(train);
    Console.Error.WriteLine($"{name}: trained in {clock.Elapsed.TotalMinutes:f1} minutes");
    return model;
}

double Accuracy(FusionTransformer model, IDataView rows) => ml.MulticlassClassification.Evaluate(model.Transform(rows)).MicroAccuracy;

// What is missing is empty; nothing else changes.
IDataView Without(bool image, bool text, bool sound) => keys.Transform(ml.Data.LoadFromEnumerable(
    ml.Data.CreateEnumerable<MixedRow>(test, reuseRowObject: false).Select(row => new MixedRow
    {
        Image = image ? [] : row.Image,
        Text = text ? "" : row.Text,
        Audio = sound ? [] : row.Audio,
        LabelText = row.LabelText,
    })));

(string Name, bool Image, bool Text, bool Sound)[] sets =
[
    ("picture", true, false, false), ("note", false, true, false), ("speech", false, false, true),
    ("picture + note", true, true, false), ("picture + speech", true, false, true), ("note + speech", false, true, true), ("all", true, true, true),
];
using FusionTransformer fused = Train("all", true, true, true, dropout: 0.25);
Console.WriteLine($"seed {seed}; {noise}\n");
Console.WriteLine("what is there        fused model   a model of just that");
var results = new Dictionary<string, (double Fused, double Own)>();
foreach (var (name, image, text, sound) in sets)
{
    double of = Accuracy(fused, Without(!image, !text, !sound)), own = double.NaN;
    bool single = !name.Contains('+', StringComparison.Ordinal);
    if (name != "all" && (single || pairs))
    {
        using FusionTransformer alone = Train(name.Replace(" + ", "-", StringComparison.Ordinal), image, text, sound, single ? 0 : 0.25);
        own = Accuracy(alone, test);
    }
    results[name] = (of, own);
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-20} {100 * of,10:f2}% {(double.IsNaN(own) ? "" : $"{100 * own,20:f2}%")}"));
}
double best = sets.Take(3).Max(s => results[s.Name].Own), nothing = Accuracy(fused, Without(true, true, true));
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{"nothing",-20} {100 * nothing,10:f2}%\n"));
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"All three are {100 * (results["all"].Fused - best):+0.00;-0.00} points against the best of them alone."));
foreach (var (name, image, text, sound) in sets.Skip(3).Take(3))
{
    double single = sets.Take(3).Where(s => (s.Image && image) || (s.Text && text) || (s.Sound && sound)).Max(s => results[s.Name].Own);
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"With one missing, {name} are left: {100 * (results[name].Fused - single):+0.00;-0.00} points against the best model of one of them."));
}
return 0;
