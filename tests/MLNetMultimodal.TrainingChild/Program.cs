// A training that its parent kills: CHECKPOINTS OUTPUT STEPS-BETWEEN-CHECKPOINTS. It prints the number of each step, and goes on from the last checkpoint.
using System.Globalization;
using Microsoft.ML;
using MLNetMultimodal;
using MLNetMultimodal.Training;
using MLNetMultimodal.Training.Tests;

var ml = new MLContext(seed: 1);
ContrastiveTrainer trainer = ml.Multimodal.Trainers.Contrastive(new()
{
    Image = "Image",
    Text = "Captions",
    Group = "Label",
    Model = StripedPictures.Model,
    VocabularySize = 600,
    Epochs = 10,
    BatchSize = 8,
    MicroBatchSize = 5,
    LearningRate = 3e-3,
    EmaDecay = 0.9,
    PatchDropout = 0.25,
    Threads = 1,
    Augmentation = new() { HorizontalFlip = 0.5f, TranslatePixels = 1 },
    Checkpoints = args[0],
    Output = args[1],
    CheckpointSteps = int.Parse(args[2], CultureInfo.InvariantCulture),
    Progress = new Printer(),
});
using MultimodalTransformer model = trainer.Fit(StripedPictures.View(ml, 84, seed: 1), StripedPictures.View(ml, 12, seed: 2));

sealed class Printer : IProgress<TrainingStep>
{
    public void Report(TrainingStep step)
    {
        Console.WriteLine(step.Step);
        Console.Out.Flush();
    }
}
