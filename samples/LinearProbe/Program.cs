// Learns linear classifiers on embeddings from few labelled pictures, and compares them with the same classifiers on pixels and
// with zero-shot classification.
// Needs: the Debian package dataset-fashion-mnist (or the four IDX files elsewhere: --data FOLDER). Takes about 15 seconds on
// two cores.
//
//   dotnet run -c Release --project samples/LinearProbe -- [--data FOLDER] [--model FOLDER] [--shots 1,2,4,8,16] [--rows 2000]
//
// The starter was trained on the training pictures of Fashion-MNIST with captions that name the classes, so few labels tell it
// little that is new. With --model and --data of your own, the table answers the question it is for: what are embeddings worth
// on data that the model has not seen?

using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Starter;

string Option(string name, string otherwise) =>
    Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;

string data = Option("data", "/usr/share/datasets/fashion-mnist");
string[] files =
    ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"];
if (Array.Find(files, f => !File.Exists(Path.Combine(data, f))) is { } missing)
{
    Console.Error.WriteLine($"'{data}' has no {missing}: install the Debian package dataset-fashion-mnist, "
        + "or name the folder of Fashion-MNIST's four files with --data.");
    return 1;
}
string shotsText = Option("shots", "1,2,4,8,16");
if (!Regex.IsMatch(shotsText, "^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*$")
    || !int.TryParse(Option("rows", "2000"), out int rows) || rows is < 1 or > 10_000)
{
    Console.Error.WriteLine(
        "--shots takes labelled pictures per class, such as 1,2,4,8,16; --rows takes the number of test pictures, 1 to 10000.");
    return 2;
}
int[] shots = [.. shotsText.Split(',').Select(s => int.Parse(s, CultureInfo.InvariantCulture)).Order()];

var ml = new MLContext(seed: 1);
ZeroShotPrompts prompts = ZeroShotPrompts.Load(Path.Combine(AppContext.BaseDirectory, "prompts"));
using MultimodalModel model = MultimodalModel.Load(Option("model", StarterModel.Folder));
IDataView Load(string split, int most) => ml.Data.LoadIdx(
    Path.Combine(data, split + "-images-idx3-ubyte.gz"), Path.Combine(data, split + "-labels-idx1-ubyte.gz"),
    new() { ClassNames = prompts.Labels, MaxRows = most });

// The classes are nearly even, so the first pictures hold enough of each. Each picture is embedded once.
IDataView train = Load("train", 20 * shots[^1] + 100), test = Load("t10k", rows);
using MultimodalTransformer embed = ml.Transforms.MultimodalEmbed(new() { LoadedModel = model, Image = "Image" }).Fit(train);
IEstimator<ITransformer> pixels = ml.Transforms.ExtractPixels("Pixels", "Image",
    ImagePixelExtractingEstimator.ColorBits.Red, scaleImage: 1 / 255f);
var features = new TransformerChain<ITransformer>(embed, pixels.Fit(train));
IDataView Features(IDataView view) => ml.Data.Cache(features.Transform(view), "Label", "Embedding", "Pixels");
IDataView learned = Features(train), measured = Features(test);

Console.WriteLine($"{rows:n0} test pictures of Fashion-MNIST; linear probes on {model.EmbeddingWidth} numbers of the model or on "
    + "the pixels,\ntop-1 and its standard deviation over three draws of the labelled pictures\n");
Console.WriteLine("labels per class      embedding         pixels");
LinearProbeMetrics? last = null;
foreach (int k in shots)
{
    LinearProbeMetrics Probe(string column) =>
        ml.Multimodal.EvaluateLinearProbe(learned, measured, new() { Features = column, ShotsPerClass = k });
    last = Probe("Embedding");
    LinearProbeMetrics raw = Probe("Pixels");
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"{k,16}  {last.Top1,7:p1} ± {100 * last.Top1Deviation,3:f1}  {raw.Top1,7:p1} ± {100 * raw.Top1Deviation,3:f1}"));
}
Console.WriteLine($"\n{last}");
using var zeroShot = ml.Transforms.ZeroShotClassify(new() { LoadedModel = model, Image = "Image", LoadedPrompts = prompts }).Fit(test);
Console.WriteLine($"zero-shot, no labels at all:\n{ml.Multimodal.EvaluateZeroShot(zeroShot.Transform(test))}");
return 0;
